-- Phones and tablets that have the app: one row per push token and owner.
select
    token,
    customer_id,
    platform,
    last_seen_at,
    model,
    app_version,
    push_enabled
from raw.devices
