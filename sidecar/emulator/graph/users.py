"""Graph's paths about users as the directory knows them; rooms and equipment are users too.

Source: Graph "List users" and "Get a user" pages; what `$count` does without its header, and that `$skip` is refused, is what
users have reported.
"""

import base64
import binascii

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import check_directory_role
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox, MailboxPurpose
from sidecar.emulator.graph.call import Call
from sidecar.emulator.graph.entities import (
    count_reply,
    entity_fields,
    entity_reply,
    filtered,
    page_reply,
    selected_names,
)
from sidecar.emulator.graph.paging import next_link
from sidecar.emulator.wire.filter_vocabulary import FieldKind, Vocabulary
from sidecar.emulator.wire.options import check_options, parse_count, whole_number

_PAGE_SIZE = 100
_PAGE_SIZE_MAX = 999  # of the directory; Exchange's lists take 1,000
_USER_ROLES = frozenset({"User.Read.All"})
_DEFAULT_PROPERTIES = """businessPhones displayName givenName id jobTitle mail mobilePhone officeLocation preferredLanguage
    surname userPrincipalName""".split()  # noqa: SIM905  (a list of names is easier to read)
_VOCABULARY = Vocabulary(
    type_name="microsoft.graph.user",
    fields={
        **entity_fields(
            FieldKind.TEXT,
            """id displayName mail userPrincipalName givenName surname jobTitle department officeLocation userType
            mailNickname city country companyName""",
        ),
        **entity_fields(FieldKind.FLAG, "accountEnabled"),
    },
    others=None,  # a user has a hundred more
    operators=frozenset({"eq", "in", "startswith"}),  # the others belong to advanced queries
)
_PERSONAL = (MailboxPurpose.USER, MailboxPurpose.LINKED, MailboxPurpose.OTHERS)


def list_users(call: Call) -> Reply:
    """Answer GET /users, a page at a time."""
    check_options(call.query, ("$select", "$top", "$filter", "$count", "$orderby", "$skip", "$skiptoken"))
    check_directory_role(call.caller, _USER_ROLES)
    if "$skip" in call.query:
        raise GraphError(400, "Request_BadRequest", "'$skip' is not supported by the service.")
    found = _ordered(call, _matching(call))
    start, size = _start(call, found), _page_size(call)
    page = found[start : start + size]
    more = start + size < len(found)
    link = next_link(call, {"$skiptoken": _token(str(page[-1]["id"]))}) if more else None
    counted = parse_count(call.query) and _is_eventual(call) and "$skiptoken" not in call.query
    names = selected_names(call)
    shown = [_shown(one) for one in page] if names is None else page
    context = f"{call.metadata_url}#users" if names is None else f"{call.metadata_url}#users({','.join(names)})"
    return page_reply(context, call, shown, next_link=link, count=len(found) if counted else None)


def count_users(call: Call) -> Reply:
    """Answer GET /users/$count, which needs the header of advanced queries."""
    check_options(call.query, ("$filter",))
    check_directory_role(call.caller, _USER_ROLES)
    if not _is_eventual(call):
        raise GraphError(400, "Request_BadRequest", "$count is not currently supported.")
    return count_reply(len(_matching(call)))


def get_user(call: Call) -> Reply:
    """Answer GET /users/{id}: eleven properties, or those selected."""
    check_options(call.query, ("$select",))
    check_directory_role(call.caller, _USER_ROLES)
    key = call.values[0]
    mailbox = call.caller.tenant.mailbox(key)
    if mailbox is None or not mailbox.is_in_directory:
        message = f"Resource '{key}' does not exist or one of its queried reference-property objects are not present."
        raise GraphError(404, "Request_ResourceNotFound", message)
    names = selected_names(call)
    if names is None:
        return entity_reply(f"{call.metadata_url}#users/$entity", call, _shown(_user(mailbox)))
    return entity_reply(f"{call.metadata_url}#users({','.join(names)})/$entity", call, _user(mailbox))


def _user(mailbox: Mailbox) -> JsonObject:
    profile = mailbox.profile
    is_person = mailbox.purpose in _PERSONAL
    first, _, last = mailbox.display_name.partition(" ")
    given, surname = (first, last or None) if is_person else (None, None)
    enabled = is_person if profile.account_enabled is None else profile.account_enabled
    return {
        "id": mailbox.object_id,
        "displayName": mailbox.display_name,
        "givenName": given if profile.given_name is None else profile.given_name,
        "surname": surname if profile.surname is None else profile.surname,
        "mail": mailbox.address,
        "userPrincipalName": mailbox.address,
        "mailNickname": mailbox.address.partition("@")[0],
        "proxyAddresses": [f"SMTP:{mailbox.address}", *(f"smtp:{one}" for one in mailbox.proxy_addresses)],
        "jobTitle": profile.job_title,
        "department": profile.department,
        "companyName": profile.company_name,
        "officeLocation": profile.office_location,
        "city": profile.city,
        "country": profile.country,
        "mobilePhone": profile.mobile_phone,
        "businessPhones": profile.business_phones,
        "preferredLanguage": profile.preferred_language,
        "usageLocation": profile.usage_location,
        "accountEnabled": enabled,
        "userType": profile.user_type,
    }


def _shown(user: JsonObject) -> JsonObject:
    return {name: user[name] for name in _DEFAULT_PROPERTIES}


def _matching(call: Call) -> list[JsonObject]:
    users = [_user(one) for one in call.caller.tenant.mailboxes.values() if one.is_in_directory]
    return filtered(call, users, _VOCABULARY)


def _ordered(call: Call, users: list[JsonObject]) -> list[JsonObject]:
    text = call.query.get("$orderby")
    if text is None:
        return users
    name, _, direction = text.strip().partition(" ")
    if name not in ("displayName", "userPrincipalName") or direction.strip() not in ("", "asc", "desc"):
        raise NotEmulated(f"$orderby={text}")
    return sorted(users, key=lambda one: str(one[name]).lower(), reverse=direction.strip() == "desc")


def _page_size(call: Call) -> int:
    text = call.query.get("$top", str(_PAGE_SIZE))
    size = whole_number(text)
    if size is None or not 1 <= size <= _PAGE_SIZE_MAX:
        message = f"Invalid page size specified: '{text}'. Must be between 1 and {_PAGE_SIZE_MAX} inclusive."
        raise GraphError(400, "Request_UnsupportedQuery", message)
    return size


def _start(call: Call, users: list[JsonObject]) -> int:
    """Find where a page begins: after the user its token names, so that a page does not shift when somebody is added."""
    text = call.query.get("$skiptoken")
    if text is None:
        return 0
    try:
        last_id = base64.urlsafe_b64decode(text.encode()).decode()
    except (binascii.Error, ValueError):
        last_id = ""
    for at, one in enumerate(users):
        if one["id"] == last_id:
            return at + 1
    raise GraphError(400, "Directory_ExpiredPageToken", "The specified page token value has expired.")


def _token(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def _is_eventual(call: Call) -> bool:
    return call.request.header("consistencylevel").lower() == "eventual"
