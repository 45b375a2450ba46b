-- The orders of one partition, from its start up to its end. order_id is unique over all orders ever, so each is sent once.
select
    order_id,
    customer_id,
    type as event_name,
    ordered_at,
    amount,
    currency,
    items,
    coupon
from raw.orders
where ordered_at >= $partition_start and ordered_at < $partition_end
