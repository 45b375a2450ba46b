"""The translator: keys, groups, owners, tags, kinds and descriptions of many syncs by one rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dagster as dg

from cio_dagster.specs import AnySpec


@dataclass(frozen=True)
class CustomerIOTranslatorData:
    """What a translator is told of a sync.

    spec
        What the rows become: Person, Device, Event, ...
    asset_spec
        The asset as the arguments of `customerio_asset`, or the YAML, describe it.
    """

    spec: AnySpec
    asset_spec: dg.AssetSpec


class CustomerIOTranslator:
    """Says what the assets of syncs are called and how they are shown. Subclass it, and give an instance to `customerio_asset`.

        class Ours(CustomerIOTranslator):
            def get_asset_spec(self, data: CustomerIOTranslatorData) -> dg.AssetSpec:
                return super().get_asset_spec(data).replace_attributes(group_name=data.spec.object, owners=["team:crm"])

    Changing the key of an asset that has run begins a new state: the snapshot is kept by asset key.
    """

    def get_asset_spec(self, data: CustomerIOTranslatorData) -> dg.AssetSpec:
        """The asset of a sync; as it is described, unless a subclass changes that."""
        return data.asset_spec


def asset_arguments(asset_spec: dg.AssetSpec) -> dict[str, Any]:
    """An asset spec as the arguments of `dagster.asset`, which takes no spec."""
    kinds = {f"dagster/kind/{kind}" for kind in asset_spec.kinds}
    return {
        "key": asset_spec.key,
        "deps": asset_spec.deps,
        "description": asset_spec.description,
        "metadata": asset_spec.metadata,
        "group_name": asset_spec.group_name,
        "code_version": asset_spec.code_version,
        "freshness_policy": asset_spec.freshness_policy,
        "automation_condition": asset_spec.automation_condition,
        "owners": asset_spec.owners,
        "tags": {name: value for name, value in asset_spec.tags.items() if name not in kinds},
        "kinds": asset_spec.kinds,
        "partitions_def": asset_spec.partitions_def,
    }
