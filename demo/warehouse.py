"""A made-up warehouse of a subscription product, in one DuckDB file: the same content for the same day, size and seed.

Tables, in the schema `raw`: `customers`, `devices`, `orders` (of the ten days before `today`), `plans`, `accounts`,
`account_members`; and `loads`, which says when each of them changed last, so that one small query can ask.

Some rows are wrong on purpose: `dirty_rows` says which. Files are made beside their place and moved there, so a reader is never
in the way, and never sees half a warehouse.

    python -m demo.warehouse build .demo/warehouse.duckdb
    python -m demo.warehouse advance .demo/warehouse.duckdb
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb

DAYS = 10
"""Days of orders in a new warehouse."""

TABLES = ("customers", "devices", "orders", "plans", "accounts", "account_members")


def build(path: Path, *, today: date, customers: int = 5_000, seed: int = 7) -> None:
    """Make the warehouse as it is at the start of `today`, in place of whatever file is there."""
    if customers < 100:
        raise ValueError(f"customers={customers}: the demo needs at least 100")
    with _replaced(path) as connection:
        _set_up(connection, seed=str(seed), today=today)
        connection.execute("create schema raw")
        connection.execute("create table raw.plans as " + _PLANS)
        for table, select in (("customers", _CUSTOMERS), ("accounts", _ACCOUNTS)):
            connection.execute(f"create table raw.{table} as {select}", {"first": 1, "last": _size(table, customers)})
        connection.execute("create table raw.account_members as " + _MEMBERS, {"first": 1})
        connection.execute("create table raw.devices as " + _DEVICES, {"first": 1})
        connection.execute("create table raw.orders as " + _ORDERS, {"days": DAYS, "until": today})
        connection.execute(_DIRT)
        connection.execute(
            "create table raw.loads as select unnest($tables) as table_name, (today() + interval 5 hours)::timestamptz as loaded_at",
            {"tables": list(TABLES)},
        )


def advance_one_day(path: Path) -> None:
    """Let one day pass: `raw.loads` moves to the next day, and with it every table changes.

    New customers (1 %) come with their devices; customers (2 %) change their plan, for better or worse; orders come in and count
    towards lifetime values, so that people join the VIPs and leave them; devices are dropped (1 %) and updated (5 %); accounts (2 %)
    close, with their members, others (5 %) grow, and new ones (2 %) open; members leave (1 %) and change roles (2 %); the plan `plus` has a new price.
    """
    with _replaced(path, keep=True) as connection:
        yesterday = connection.execute("select max(loaded_at)::date from raw.loads").fetchall()[0][0]
        day = date.fromordinal(yesterday.toordinal() + 1)
        _set_up(connection, seed=day.isoformat(), today=day)
        size = "select max(regexp_extract({id}, '[0-9]+$')::int) from raw.{table} where is_clean({id})"
        last_customer = connection.execute(size.format(id="customer_id", table="customers")).fetchall()[0][0]
        last_account = connection.execute(size.format(id="account_id", table="accounts")).fetchall()[0][0]
        new_customers = {"first": last_customer + 1, "last": last_customer + last_customer // 100}
        new_accounts = {"first": last_account + 1, "last": last_account + max(last_account // 50, 1)}
        connection.execute(_CHANGE_PLANS)
        connection.execute("insert into raw.customers " + _CUSTOMERS, new_customers)
        connection.execute("insert into raw.orders " + _ORDERS, {"days": 1, "until": day})
        connection.execute(_COUNT_ORDERS)
        connection.execute(_CHANGE_DEVICES)
        connection.execute("insert into raw.devices " + _DEVICES, {"first": new_customers["first"]})
        connection.execute(_CHANGE_ACCOUNTS)
        connection.execute("insert into raw.accounts " + _ACCOUNTS, new_accounts)
        connection.execute("insert into raw.account_members " + _MEMBERS, {"first": new_accounts["first"]})
        connection.execute(_CHANGE_MEMBERS)
        connection.execute("update raw.plans set monthly_price = monthly_price + 0.50 where plan = 'plus'")
        connection.execute("update raw.loads set loaded_at = (today() + interval 5 hours)::timestamptz")


def dirty_rows() -> dict[str, dict[str, int]]:
    """The rows that are wrong on purpose: asset name to reason for rejection to number of rows. The same on every day.

    Rows of orders are counted over all days.
    """
    return {
        "people": {
            "missing_key": 2,
            "key_too_long": 1,
            "duplicate_key": 2,
            "value_too_long": 1,
            "not_a_number": 1,
            "invalid_email": 2,
        },
        "devices": {"missing_key": 2, "unknown_platform": 2, "duplicate_key": 2},
        "orders": {"missing_key": 2, "duplicate_key": 2},
        "plans": {"row_too_long": 1},
        "vip_customers": {"missing_key": 1, "duplicate_key": 2},
        "accounts": {"missing_key": 1, "key_too_long": 1, "value_too_long": 1},
        "account_members": {"missing_key": 2, "duplicate_key": 2},
    }


@contextmanager
def _replaced(path: Path, *, keep: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a new file, or to a copy of the one that is there, which takes the path's place if all goes well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        if keep:
            shutil.copyfile(path, new)
        with duckdb.connect(str(new)) as connection:
            yield connection
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _size(table: str, customers: int) -> int:
    return customers if table == "customers" else customers // 20


def _set_up(connection: duckdb.DuckDBPyConnection, *, seed: str, today: date) -> None:
    """UTC, and the macros that the SQL below is made with. MD5 makes the draws, so no release of DuckDB changes them."""
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set variable seed = $seed", {"seed": seed})
    connection.execute("set variable today = $today", {"today": today})
    connection.execute(_MACROS)


_MACROS = r"""
create temp macro today() as getvariable('today');
-- A number from 0 to 1 that depends on the seed, on what it is for, and on the row.
create temp macro draw(purpose, key) as
    ((md5_number_lower(concat_ws('/', getvariable('seed'), purpose, key)) % 1000000007)::double / 1000000007);
create temp macro pick(choices, purpose, key) as choices[1 + floor(draw(purpose, key) * len(choices))::int];
create temp macro between_numbers(low, high, purpose, key) as low + floor(draw(purpose, key) * (high - low + 1))::int;
create temp macro is_clean(id) as coalesce(regexp_full_match(id, '(cus|acc)_[0-9]{6,}'), false);
"""

_PLANS = """
select *, 'EUR' as currency
from (values
    ('free', 'Free', 0.00::decimal(8, 2), 1, 0, ['1 project', 'community support'], false, 'To look around.'),
    ('trial', 'Trial', 0.00, 5, 14, ['all of Plus', 'for 14 days'], false, 'All of Plus for two weeks.'),
    ('basic', 'Basic', 9.00, 3, 14, ['10 projects', 'mail support'], false, 'For one person with a few projects.'),
    ('plus', 'Plus', 19.00, 5, 14, ['unlimited projects', 'mail support', 'reports'], true, 'For people who live in it.'),
    ('family', 'Family', 29.00, 6, 14, ['all of Plus', '6 people'], false, 'Plus for a household.'),
    ('business', 'Business', 49.00, 50, 30, ['all of Plus', 'single sign-on', 'phone support'], false, 'For teams.')
) as t(plan, name, monthly_price, seats, trial_days, features, is_popular, description)
"""

_CUSTOMERS = """
with numbers as (
    select i, format('cus_{:06d}', i) as customer_id from range($first, $last + 1) as t(i)
), people as (
    select
        i,
        customer_id,
        pick(['Ada', 'Amir', 'Ana', 'Björn', 'Chloé', 'Daniel', 'Elif', 'Emma', 'Fatima', 'Giulia', 'Hugo', 'Ingrid', 'James', 'José',
              'Kenji', 'Leïla', 'Łukasz', 'Maria', 'Mateo', 'Mei', 'Noah', 'Olga', 'Priya', 'Sofia', 'Thabo', 'Yara', 'Zoë'],
             'first', i) as first_name,
        pick(['Almeida', 'Bianchi', 'Brown', 'Çelik', 'Dubois', 'Fischer', 'García', 'Haddad', 'Ivanova', 'Jansen', 'Kowalski', 'Lindqvist',
              'Müller', 'Nguyễn', 'Novák', 'O''Brien', 'Okafor', 'Patel', 'Rossi', 'Sato', 'Silva', 'Smith', 'Tanaka', 'Wójcik', 'Zhang'],
             'last', i) as last_name,
        pick(['DE', 'DE', 'FR', 'GB', 'GB', 'US', 'US', 'US', 'ES', 'IT', 'NL', 'PL', 'BR', 'JP'], 'country', i) as country,
        pick(['free', 'free', 'free', 'trial', 'basic', 'basic', 'plus', 'plus', 'family', 'business'], 'plan', i) as plan,
        -- Those who come with the first load have signed up over three years; later ones on the day before.
        case when $first = 1 then between_numbers(1, 1095 * 86400, 'age', i) else between_numbers(1, 86400, 'age', i) end as age
    from numbers
)
select
    customer_id,
    lower(regexp_replace(strip_accents(replace(first_name, 'Ł', 'L') || '.' || last_name), '[^A-Za-z.]', '', 'g')) || i || '@'
        || pick(['example.com', 'example.net', 'example.org'], 'domain', i) as email,
    first_name,
    last_name,
    case country when 'DE' then 'de' when 'FR' then 'fr' when 'ES' then 'es' when 'IT' then 'it' when 'NL' then 'nl'
        when 'PL' then 'pl' when 'BR' then 'pt' when 'JP' then 'ja' else 'en' end as language,
    country,
    plan,
    today()::timestamptz - to_seconds(age) as created_at,
    case when plan = 'trial' then today() + between_numbers(0, 13, 'trial', i) end as trial_ends_on,
    draw('opt in', i) < 0.7 as marketing_opt_in,
    case when plan in ('free', 'trial') then 0
        else least(age / 86400 * pick([0.3, 0.6, 1.1], 'spend', i), 2500) end::decimal(12, 2) as lifetime_value,
    case when draw('has birthday', i) < 0.8 then date '1950-01-01' + between_numbers(0, 20000, 'birthday', i) end as birth_date,
    list_filter(['beta tester', 'newsletter', 'referred', 'student'], lambda tag: draw('tag ' || tag, i) < 0.2) as tags,
    {
        'street': pick(['Elm Street', 'Rua Augusta', 'Hauptstraße', 'Rue de la Paix', 'Via Roma'], 'street', i) || ' '
            || between_numbers(1, 240, 'number', i),
        'postcode': format('{:05d}', between_numbers(1000, 99999, 'postcode', i)),
        'country': country
    } as address,
    case when draw('has score', i) < 0.4 then round(draw('score', i) * 10, 1) end as satisfaction,
    null::varchar as notes,
    today()::timestamptz - to_seconds(age % 86400) as updated_at
from people
order by customer_id
"""

_ACCOUNTS = """
select
    format('acc_{:06d}', i) as account_id,
    pick(['Amber', 'Blue', 'Bright', 'Cedar', 'Delta', 'Nordic', 'Polar', 'Silver', 'Solar', 'Swift'], 'name', i) || ' '
        || pick(['Analytics', 'Bakery', 'Clinic', 'Foods', 'Freight', 'Labs', 'Media', 'Studio', 'Systems', 'Travel'], 'trade', i)
        || ' ' || i as name,
    pick(['food', 'health', 'logistics', 'media', 'software', 'travel'], 'industry', i) as industry,
    between_numbers(2, 400, 'employees', i) as employees,
    (between_numbers(1, 60, 'mrr', i) * 49)::decimal(12, 2) as monthly_revenue,
    today() + between_numbers(1, 365, 'renewal', i) as renews_on,
    null::varchar as description
from range($first, $last + 1) as t(i)
order by account_id
"""

_MEMBERS = """
select distinct on (account_id, customer_id)
    account_id,
    customer_id,
    case seat when 1 then 'owner' when 2 then 'admin' else 'member' end as role,
    today()::timestamptz - to_seconds(between_numbers(1, 400 * 86400, 'joined', account_id || seat)) as joined_at
from (
    select
        account_id,
        seat,
        format('cus_{:06d}', between_numbers(1, (select count(*) from raw.customers where is_clean(customer_id))::int, 'member',
                                             account_id || seat)) as customer_id
    from raw.accounts, range(1, 9) as seats(seat)
    where is_clean(account_id) and regexp_extract(account_id, '[0-9]+$')::int >= $first
        and seat <= between_numbers(2, 8, 'members', account_id)
)
order by account_id, customer_id, seat
"""

_DEVICES = """
select
    md5('token/' || customer_id || '/' || place) || md5('push/' || customer_id || '/' || place) as token,
    customer_id,
    platform,
    pick(if(platform = 'ios', ['iPhone 15', 'iPhone 16', 'iPad Air'], ['Pixel 9', 'Galaxy S25', 'Fairphone 5']), 'model', customer_id || place)
        as model,
    pick(['4.1.0', '4.2.0', '4.2.1'], 'version', customer_id || place) as app_version,
    draw('push', customer_id || place) < 0.8 as push_enabled,
    today()::timestamptz - to_seconds(between_numbers(1, 60 * 86400, 'seen', customer_id || place)) as last_seen_at
from (
    select customer_id, place, pick(['ios', 'android'], 'platform', customer_id || place) as platform
    from raw.customers, range(1, 4) as t(place)
    where is_clean(customer_id) and regexp_extract(customer_id, '[0-9]+$')::int >= $first
        and place <= between_numbers(0, 3, 'devices', customer_id)
)
order by customer_id, place
"""

_ORDERS = """
select
    'ord_' || strftime(day, '%Y%m%d') || '_' || lpad(row_number() over (partition by day order by customer_id)::varchar, 6, '0') as order_id,
    customer_id,
    pick(['order_placed', 'order_placed', 'order_placed', 'subscription_renewed', 'order_refunded'], 'type', customer_id || day) as type,
    day::timestamptz + to_seconds(between_numbers(0, 86399, 'time', customer_id || day)) as ordered_at,
    list_sum([item.quantity * item.price for item in items])::decimal(12, 2) as amount,
    'EUR' as currency,
    items,
    case when draw('coupon', customer_id || day) < 0.1 then 'WELCOME10' end as coupon
from (
    select
        customer_id,
        day,
        [
            {
                'sku': 'sku-' || lpad((1 + floor(draw('sku' || place, customer_id || day) * 40))::int::varchar, 3, '0'),
                'quantity': between_numbers(1, 3, 'quantity' || place, customer_id || day),
                'price': (between_numbers(4, 90, 'price' || place, customer_id || day) + 0.99)::decimal(10, 2)
            }
            for place in range(1, between_numbers(1, 3, 'items', customer_id || day) + 1)
        ] as items
    from raw.customers, (select $until::date - i::int as day from range(1, $days + 1) as t(i))
    where is_clean(customer_id) and plan not in ('free', 'trial') and draw('orders', customer_id || day) < 0.08
)
order by order_id
"""

_DIRT = """
create temp table pattern as select * from raw.customers where is_clean(customer_id) order by customer_id limit 1;
insert into raw.customers
select p.* replace (
    d.id as customer_id, d.email as email, d.value as lifetime_value, d.plan as plan, null as trial_ends_on, d.score as satisfaction,
    d.notes as notes
)
from pattern as p, (values
    (null, 'imported@example.com', 900, 'plus', 5.0, null),
    ('', 'no.id@example.com', 0, 'free', 5.0, null),
    ('crm-' || repeat('0123456789', 15), 'long.id@example.com', 0, 'free', 5.0, null),
    ('cus_merged', 'before@example.com', 800, 'family', 5.0, null),
    ('cus_merged', 'after@example.com', 850, 'family', 5.0, null),
    ('cus_talkative', 'talkative@example.com', 0, 'free', 5.0, repeat('Asked for a call back. ', 50)),
    ('cus_unscored', 'unscored@example.com', 0, 'free', 'nan'::double, null),
    ('cus_typo1', 'typo.example.com', 0, 'free', 5.0, null),
    ('cus_typo2', 'two words@example.com', 0, 'free', 5.0, null)
) as d(id, email, value, plan, score, notes);

insert into raw.devices
select d.token, p.customer_id, d.platform, 'Lumia 950', '1.0.0', true, today()::timestamptz - interval 90 days
from pattern as p, (values
    (null, 'ios'), ('', 'android'), ('lumia-token', 'windows phone'), ('browser-token', 'web'), ('twice-token', 'ios'), ('twice-token', 'ios')
) as d(token, platform);

insert into raw.orders
select d.id, p.customer_id, 'order_placed', today()::timestamptz - to_hours(d.hours), 9.99, 'EUR', [], null
from pattern as p, (values (null, 5), ('', 30), ('ord_repeated', 6), ('ord_repeated', 7)) as d(id, hours);

insert into raw.plans
select 'legacy', 'Legacy', 5.00, 1, 0, ['whatever was agreed'], false, repeat('Terms as agreed in writing in 2009. ', 300), 'EUR';

insert into raw.accounts values
    ('', 'Account without an id', 'food', 3, 49.00, today(), null),
    ('erp-' || repeat('0123456789', 15), 'Account with a long id', 'food', 3, 49.00, today(), null),
    ('acc_wordy', 'Account with a long description', 'food', 3, 49.00, today(), repeat('A customer since the beginning. ', 40));

insert into raw.account_members
select d.account, d.customer, 'member', today()::timestamptz
from pattern as p, (values
    (null, p.customer_id), ('acc_000001', null), ('acc_000002', 'cus_merged'), ('acc_000002', 'cus_merged')
) as d(account, customer);
"""

_CHANGE_PLANS = """
update raw.customers
set plan = pick(['free', 'basic', 'plus', 'family', 'business'], 'plan', customer_id), trial_ends_on = null, updated_at = today()
where is_clean(customer_id) and draw('changes plan', customer_id) < 0.02
"""

_COUNT_ORDERS = """
update raw.customers as c
set lifetime_value = lifetime_value + o.amount, updated_at = today()
from (
    select customer_id, sum(if(type = 'order_refunded', -amount, amount))::decimal(12, 2) as amount
    from raw.orders where ordered_at >= today() - 1 group by all
) as o
where c.customer_id = o.customer_id
"""

_CHANGE_DEVICES = """
delete from raw.devices where is_clean(customer_id) and length(token) = 64 and draw('drops', token) < 0.01;
update raw.devices set app_version = '4.3.0', last_seen_at = today()
where length(token) = 64 and draw('updates', token) < 0.05;
"""

_CHANGE_ACCOUNTS = """
create temp table closed as select account_id from raw.accounts
    where is_clean(account_id) and account_id not in ('acc_000001', 'acc_000002')  -- Wrong memberships point at these.
    order by draw('closes', account_id)
    limit (select greatest(count(*) // 50, 1) from raw.accounts);
delete from raw.account_members where is_clean(customer_id) and account_id in (from closed);
delete from raw.accounts where account_id in (from closed);
update raw.accounts set employees = employees + 1, monthly_revenue = monthly_revenue + 49
where is_clean(account_id) and draw('grows', account_id) < 0.05;
"""

_CHANGE_MEMBERS = """
delete from raw.account_members
where is_clean(account_id) and is_clean(customer_id) and draw('leaves', account_id || customer_id) < 0.01;
update raw.account_members set role = if(role = 'member', 'admin', 'member')
where is_clean(account_id) and is_clean(customer_id) and role <> 'owner' and draw('role', account_id || customer_id) < 0.02;
"""


def main() -> None:
    """The command line: build or advance a warehouse file."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.warehouse", description="Make the demo's warehouse, or let a day pass in it."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="make it")
    building.add_argument("path", type=Path)
    building.add_argument("--today", type=date.fromisoformat, default=date.today(), help="default: today")
    building.add_argument("--customers", type=int, default=5_000)
    building.add_argument("--seed", type=int, default=7)
    advancing = commands.add_parser("advance", help="let one day pass")
    advancing.add_argument("path", type=Path)
    given = parser.parse_args()
    if given.command == "build":
        build(given.path, today=given.today, customers=given.customers, seed=given.seed)
    else:
        advance_one_day(given.path)


if __name__ == "__main__":
    main()
