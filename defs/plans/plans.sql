-- What can be subscribed to, for use in messages: {% for plan in collections.plans %}.
select
    plan,
    name,
    monthly_price,
    currency,
    seats,
    trial_days,
    features,
    is_popular,
    description
from raw.plans
order by monthly_price
