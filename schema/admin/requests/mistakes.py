"""Collects the mistakes of an input, each with its field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.admin.requests.names import BRANCH
from schema.errors import Reason
from schema.ports.admin import administration as ports
from schema.ports.admin import instances as instance_ports

if TYPE_CHECKING:
    from schema.admin.requests.names import NameRule, TableNameRule


class Mistakes:
    """The mistakes of one input. Its request may be sent only if `mistakes` stays empty."""

    def __init__(self, configured: ports.Configured) -> None:
        self.mistakes: list[ports.AdminRefusal] = []
        self._configured = configured

    @property
    def _autoscales(self) -> bool:
        return self._configured.flavour is instance_ports.Flavour.AUTOSCALING

    def _name(self, name: str, rule: NameRule | TableNameRule, field: str) -> str:
        if mistake := rule.mistake(name):
            self._mistake(Reason.NAME_INVALID, field, mistake)
        return name

    def _name_if_given(self, name: str | None, rule: NameRule | TableNameRule, field: str) -> str | None:
        return None if name is None else self._name(name, rule, field)

    def _or_configured(
        self, name: str | None, configured: str | None, rule: NameRule | TableNameRule, field: str, setting: str
    ) -> str:
        if name is not None:
            return self._name(name, rule, field)
        if configured is None:
            self._mistake(
                Reason.NAME_INVALID,
                field,
                f"Give `{field}`, or configure the server's setting `{setting}`. The settings do not count if "
                "`LAKEBASE_INSTANCE_NAME` names another instance than `LAKEBASE_ENDPOINT`.",
            )
            return ""
        if mistake := rule.mistake(configured):
            self._mistake(Reason.NAME_INVALID, field, f"{mistake} It comes from the setting `{setting}`.")
        return configured

    def _branch(self, name: str | None, field: str = "branch") -> str | None:
        """The name of a branch, which only instances of the flavour AUTOSCALING have."""
        if name is not None and not self._autoscales:
            self._setting(field, "This server administers instances of the Provisioned API, which have no branches.")
            return None
        return self._name_if_given(name, BRANCH, field)

    def _setting(self, field: str | None, message: str) -> None:
        self._mistake(Reason.SETTING_INVALID, field, message)

    def _mistake(self, reason: Reason, field: str | None, message: str) -> None:
        self.mistakes.append(ports.AdminRefusal(reason, message, field))
