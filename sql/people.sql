-- Every customer, one row each. All columns but customer_id become attributes of the person.
select
    customer_id,
    email,
    first_name,
    last_name,
    language,
    country,
    plan,
    created_at,
    trial_ends_on,
    marketing_opt_in,
    lifetime_value,
    birth_date,
    tags,
    address,
    satisfaction,
    notes
from raw.customers
