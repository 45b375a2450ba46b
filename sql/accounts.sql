-- Companies: objects that people belong to.
select
    account_id,
    name,
    industry,
    employees,
    monthly_revenue,
    renews_on,
    description
from raw.accounts
