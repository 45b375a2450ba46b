-- The customers who have spent the most and still pay. Who drops out of here leaves the segment.
select customer_id
from raw.customers
where lifetime_value >= 500 and plan not in ('free', 'trial')
