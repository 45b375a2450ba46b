-- Who belongs to which company, and as what. role and joined_at become attributes of the relationship.
select
    account_id,
    customer_id,
    role,
    joined_at
from raw.account_members
