"""Customer.io's published limits, in UTF-8 bytes unless a name says otherwise.

Source, where no other is named: the `info` part of Customer.io's Track API document (docs.customer.io/files/journeys-track.json).
Whether "kb" is 1,000 or 1,024 bytes is not documented, so the smaller reading is used.
"""

from __future__ import annotations

IDENTIFIER_BYTES = 150
"""A person's id and an object's id."""

ATTRIBUTE_NAME_BYTES = 150
"""The name of an attribute of a person, object or relationship."""

ATTRIBUTE_VALUE_BYTES = 1_000
"""The value of an attribute of a person, object or relationship."""

ATTRIBUTES_PER_OPERATION = 300
"""Attributes in one identify call, or on one object or relationship."""

EVENT_NAME_BYTES = 100
"""An event's name (docs.customer.io/journeys/invalid-api-requests also says "less than 500 characters")."""

EVENT_DATA_BYTES = 100_000
"""An event's data as JSON; inside a v2 batch the operation's limit is reached first."""

OPERATION_BYTES = 32_000
"""One operation inside a v2 batch ("32 kb or less")."""

BATCH_BYTES = 500_000
"""A whole v2 batch request ("under 500 kb")."""

SEGMENT_IDS_PER_REQUEST = 1_000
"""Ids in one add_customers or remove_customers call (Track v1 segments)."""

COLLECTION_BYTES = 10_000_000
"""A collection's rows as JSON (docs.customer.io, App API collections: 10 MB)."""

COLLECTION_ROW_BYTES = 10_000
"""One row of a collection as JSON (docs.customer.io, App API collections: 10 KB)."""

CAMPAIGN_WINDOW_SECONDS = 72 * 3600
"""Only events younger than this set off campaigns (docs.customer.io/journeys/importing-old-data)."""

EXACT_INTEGER = 2**53
"""Beyond this a JSON reader that uses doubles loses digits (RFC 8259, section 6)."""
