"""The sentences that people are told by: one for each cause, whatever words Microsoft used.

By reason, and where one reason has several causes that people mend differently, by the cause as well. Constant, so that no
address or identifier of Microsoft's answers gets into them; values that belong to a problem are in its metadata.
"""

from __future__ import annotations

from typing import NamedTuple

from sidecar.model.problem import Actor


class Text(NamedTuple):
    """What is wrong, what to do, and who must."""

    message: str
    action: str
    actor: Actor


EVERY_ROOM = "EVERY_ROOM"
"""The cause of a tenant's denial: it is not one room that is refused."""
_MAKE_ANOTHER = (
    "Make a new client secret in the app registration and hand over its Value, not its Secret ID (`tenant rotate`). "
    "A secret that was made just now takes some minutes to be known everywhere; the sidecar tries again by itself."
)
_WEBHOOK = "Make webhook.public_url reachable from the internet over TLS 1.2 without anything that demands a login."
_POLLED = "rooms are read at intervals instead."

TEXTS: dict[tuple[str, str], Text] = {
    ("CREDENTIAL_REJECTED", ""): Text(
        "Microsoft refuses the application's credential.",
        "Look up the AADSTS number in the problem's metadata, and hand over a credential that works (`tenant rotate`).",
        Actor.CUSTOMER,
    ),
    ("CREDENTIAL_REJECTED", "SECRET_WRONG"): Text(
        "The client secret is not one of the application's.", _MAKE_ANOTHER, Actor.CUSTOMER
    ),
    ("CREDENTIAL_REJECTED", "CERTIFICATE_UNKNOWN"): Text(
        "The certificate is not registered with the application.",
        "Upload the certificate to the app registration (Certificates & secrets), or hand over one (`tenant rotate`) "
        "that is there.",
        Actor.CUSTOMER,
    ),
    ("CREDENTIAL_REJECTED", "FEDERATION"): Text(
        "The application does not trust the identity that the sidecar presents.",
        "Compare issuer, subject and audience of the app registration's federated credential with the sidecar's identity.",
        Actor.CUSTOMER,
    ),
    ("CREDENTIAL_REJECTED", "PUBLIC_CLIENT"): Text(
        "The application is registered as a public client, which may not have a credential.",
        "Switch off 'Allow public client flows' in the app registration's authentication settings.",
        Actor.CUSTOMER,
    ),
    ("CREDENTIAL_REJECTED", "CLOCK"): Text(
        "Microsoft refuses what the sidecar signs, because its clock and Microsoft's differ too much.",
        "Set the clock of the sidecar's machine by NTP; it tries again by itself.",
        Actor.OPERATOR,
    ),
    ("CREDENTIAL_REJECTED", "TOKEN"): Text(
        "Exchange refuses the tokens that Microsoft's login service gives the application.",
        "Check that the application is enabled in the directory and that Exchange Online is in use there; the sidecar "
        "tries again by itself.",
        Actor.CUSTOMER,
    ),
    ("CREDENTIAL_EXPIRED", ""): Text("The client secret has expired.", _MAKE_ANOTHER, Actor.CUSTOMER),
    ("CREDENTIAL_EXPIRED", "CERTIFICATE"): Text(
        "The certificate has expired.",
        "Make a new certificate, upload it to the app registration, and hand it over (`tenant rotate`).",
        Actor.CUSTOMER,
    ),
    ("APPLICATION_NOT_FOUND", ""): Text(
        "The customer's directory has no application with this id.",
        "Compare the Application (client) ID and the Directory (tenant) ID with the overview page of the app registration; "
        "if the application was deleted, restore it within 30 days or make another one.",
        Actor.CUSTOMER,
    ),
    ("APPLICATION_DISABLED", ""): Text(
        "The application is disabled in the customer's directory.",
        "In Entra, under Enterprise applications, open the application's properties and enable sign-in.",
        Actor.CUSTOMER,
    ),
    ("SIGN_IN_BLOCKED", ""): Text(
        "A policy of the customer keeps the application from signing in.",
        "Exclude the application from the policy, or allow the addresses that the sidecar calls from.",
        Actor.CUSTOMER,
    ),
    ("SIGN_IN_BLOCKED", "CONDITIONAL_ACCESS"): Text(
        "A Conditional Access policy of the customer keeps the application from signing in.",
        "Exclude the application from the policy for workload identities, or allow the addresses that the sidecar calls from.",
        Actor.CUSTOMER,
    ),
    ("SIGN_IN_BLOCKED", "SECURITY_SETTINGS"): Text(
        "The customer's security settings keep the application from signing in.",
        "Look in Entra's sign-in log of service principals for what blocked the application, and exclude it there.",
        Actor.CUSTOMER,
    ),
    ("DIRECTORY_NOT_FOUND", ""): Text(
        "Microsoft knows no directory with this id in this cloud.",
        "Compare the directory (tenant) id and the cloud with the overview page of the app registration.",
        Actor.CUSTOMER,
    ),
    ("CLOUD_MISMATCH", ""): Text(
        "The directory is in another of Microsoft's clouds.",
        "Delete the tenant, and register it with the cloud that the directory is in.",
        Actor.OPERATOR,
    ),
    ("CLOUD_MISMATCH", "GRAPH_UNKNOWN"): Text(
        "The customer's directory does not know the Microsoft Graph of this cloud.",
        "Compare the cloud; if it is the right one, enable the enterprise application Microsoft Graph in the directory.",
        Actor.CUSTOMER,
    ),
    ("CLOCK_SKEWED", ""): Text(
        "The sidecar's clock and Microsoft's differ by more than five minutes.",
        "Set the clock of the machine, or of the PostgreSQL, by NTP; until then no time that is told can be trusted.",
        Actor.OPERATOR,
    ),
    ("CONSENT_MISSING", ""): Text(
        "The application has no permission to read calendars, or it was withdrawn.",
        "Add the application permission Calendars.ReadWrite to the app registration and grant admin consent, or assign "
        "the role in Exchange; Exchange may take two hours to apply a role. The sidecar finds it by itself.",
        Actor.CUSTOMER,
    ),
    ("CONSENT_MISSING", "LAPSED"): Text(
        "The customer's Microsoft 365 subscription has lapsed.",
        "Renew the subscription; the sidecar goes on by itself.",
        Actor.CUSTOMER,
    ),
    ("MAILBOX_ACCESS_DENIED", ""): Text(
        "Exchange does not let the application read this mailbox.",
        "Add the room to the scope of the app's access policy or role assignment; Exchange applies it within hours.",
        Actor.CUSTOMER,
    ),
    ("MAILBOX_ACCESS_DENIED", "ACCESS_POLICY"): Text(
        "An application access policy of Exchange keeps the application from this mailbox.",
        "Add the room to the group of the application access policy; Exchange applies it within hours.",
        Actor.CUSTOMER,
    ),
    ("MAILBOX_ACCESS_DENIED", EVERY_ROOM): Text(
        "Exchange lets the application read none of the rooms that were tried.",
        "Add the rooms to the scope of the app's access policy or role assignment. After a grant wait: Exchange applies it "
        "within hours, two days at most, and the sidecar finds it by itself.",
        Actor.CUSTOMER,
    ),
    ("ACCESS_PENDING", ""): Text(
        "Exchange does not let the application read this mailbox yet; access was granted not long ago.",
        "Wait: Exchange applies a grant within hours, two days at most, and the sidecar asks again and again. If the room "
        "is not in the scope of the app's access policy or role assignment, add it.",
        Actor.NOBODY,
    ),
    ("MAILBOX_NOT_FOUND", ""): Text(
        "Exchange knows no mailbox with this address.",
        "Correct the address of the room; if the mailbox was deleted, unmap the room.",
        Actor.CUSTOMER,
    ),
    ("MAILBOX_NOT_IN_CLOUD", ""): Text(
        "The mailbox is not in Exchange Online, or is inactive.",
        "Move the mailbox to Exchange Online and license it.",
        Actor.CUSTOMER,
    ),
    ("SUBSCRIPTION_REFUSED", ""): Text(
        f"Exchange refuses to announce changes of this room; {_POLLED}",
        "Check that the app's permission covers the room; the sidecar tries again by itself.",
        Actor.CUSTOMER,
    ),
    ("SUBSCRIPTION_REFUSED", "TOO_MANY"): Text(
        f"The mailbox has as many subscriptions as Exchange allows, of all applications together; {_POLLED}",
        "Have other applications give up subscriptions that they no longer use.",
        Actor.CUSTOMER,
    ),
    ("SUBSCRIPTION_REFUSED", "EXPIRY_TOO_LATE"): Text(
        f"Exchange does not allow subscriptions to live as long as was asked; {_POLLED}",
        "Set the sidecar's clock by NTP, and lower sync.subscription_minutes if that is not it.",
        Actor.OPERATOR,
    ),
    ("WEBHOOK_UNREACHABLE", ""): Text(
        f"Exchange cannot reach the sidecar's webhook address; {_POLLED}", _WEBHOOK, Actor.OPERATOR
    ),
    ("WEBHOOK_UNREACHABLE", "TLS"): Text(
        f"Exchange cannot make a TLS connection to the sidecar's webhook address; {_POLLED}",
        "Serve a certificate for that host name with its whole chain, from an authority that Windows trusts, over TLS 1.2.",
        Actor.OPERATOR,
    ),
    ("WEBHOOK_UNREACHABLE", "TIMED_OUT"): Text(
        f"Exchange gets no answer from the sidecar's webhook address within ten seconds; {_POLLED}",
        _WEBHOOK,
        Actor.OPERATOR,
    ),
    ("WEBHOOK_UNREACHABLE", "STATUS"): Text(
        f"Something in front of the sidecar's webhook address answers instead of it; {_POLLED}",
        "Let Microsoft's calls through to the sidecar: no login page, no bot protection, no redirect.",
        Actor.OPERATOR,
    ),
    ("WEBHOOK_UNREACHABLE", "WRONG_BODY"): Text(
        f"Something in front of the sidecar's webhook address changes its answers; {_POLLED}",
        "Let the sidecar's answers pass unchanged: status, content type and body.",
        Actor.OPERATOR,
    ),
    ("PLACES_DENIED", ""): Text(
        "The app may not read the organisation's list of rooms.",
        "Add the application permission Place.Read.All to the app registration and grant admin consent, or import rooms from"
        " a file; nothing else needs that permission.",
        Actor.CUSTOMER,
    ),
    ("PLACES_UNAVAILABLE", ""): Text(
        "Microsoft has no list of rooms for this organisation, as in some national clouds.",
        "Import rooms from a file.",
        Actor.NOBODY,
    ),
    ("DELETION_HELD", ""): Text(
        "A read of the calendar lacked many bookings at once; they are shown until a second read agrees.",
        "Wait some minutes; if the bookings were deleted, they go by themselves.",
        Actor.NOBODY,
    ),
    ("EXCHANGE_THROTTLED", ""): Text(
        "Exchange asks us to slow down.",
        "Wait; the sidecar obeys and goes on by itself.",
        Actor.NOBODY,
    ),
    ("EXCHANGE_UNAVAILABLE", ""): Text(
        "Exchange cannot be reached or does not answer properly.",
        "Wait; if it lasts, check the sidecar's way to the internet and Microsoft's service health.",
        Actor.MICROSOFT,
    ),
    ("EXCHANGE_UNAVAILABLE", "LOGIN"): Text(
        "Microsoft's login service cannot be reached or does not answer properly.",
        "Wait; if it lasts, check the sidecar's way to the internet and Microsoft's service health.",
        Actor.MICROSOFT,
    ),
    ("EXCHANGE_UNAVAILABLE", "MOVING"): Text(
        "Exchange is moving the mailbox, and nobody can open it meanwhile.",
        "Wait until the move is complete; the sidecar goes on by itself.",
        Actor.NOBODY,
    ),
    ("EXCHANGE_UNAVAILABLE", "MAILBOX_STORE"): Text(
        "Exchange cannot open the mailbox for the moment, because its database is away.",
        "Wait; if it lasts, look at Microsoft's service health.",
        Actor.MICROSOFT,
    ),
    ("EXCHANGE_REFUSED", ""): Text(
        "Exchange refuses something for a reason that this version does not know.",
        "Look up the code in Microsoft's documentation, or report it together with the request id.",
        Actor.OPERATOR,
    ),
    ("EXCHANGE_REFUSED", "TOO_MANY_ENTRIES"): Text(
        "Exchange does not tell so many entries of one calendar at once.",
        "Ask about a shorter span of time, or without bypass_cache.",
        Actor.NOBODY,
    ),
    ("ROOM_NOT_FOUND", ""): Text(
        "No room has this name.",
        "Map the room, or correct its name.",
        Actor.OPERATOR,
    ),
    ("ROOM_IMPORTING", ""): Text(
        "The first read of the room's calendar is under way.",
        "Wait: the room is told of as soon as its calendar was read.",
        Actor.NOBODY,
    ),
    ("ROOM_STALE", ""): Text(
        "The room's calendar was not checked for longer than is promised.",
        "See that a worker runs, and what its log says; bypass_cache asks Exchange meanwhile.",
        Actor.OPERATOR,
    ),
    ("CAPACITY_UNKNOWN", ""): Text(
        "Nobody told how many seats the room has.",
        "Give the room's capacity where it is mapped, or ask without min_capacity.",
        Actor.OPERATOR,
    ),
    ("OUTSIDE_HORIZON", ""): Text(
        "The copy of the room's calendar does not hold the whole window.",
        "Ask for a window inside the horizon, or with bypass_cache; the tenant's settings say how far the copy reaches.",
        Actor.OPERATOR,
    ),
    ("TENANT_SUSPENDED", ""): Text(
        "The tenant is suspended, so nothing is asked of Exchange for it.",
        "Resume the tenant (`tenant resume`).",
        Actor.OPERATOR,
    ),
    ("SECRET_UNREADABLE", ""): Text(
        "The sealed credential cannot be opened.",
        "Give the sidecar the key ring that sealed it, or register the tenant again.",
        Actor.OPERATOR,
    ),
    ("TOKEN_FILE_UNUSABLE", ""): Text(
        "The token file of the federated credential cannot be used.",
        "Mount the token into the folder that credentials.token_files_folder names, under the path that was registered.",
        Actor.OPERATOR,
    ),
}
_UNKNOWN = Text("The sidecar met something unexpected.", "Look for the reason in the sidecar's log.", Actor.OPERATOR)


def text_of(reason: str, cause: str = "") -> Text:
    """Return the sentences for a cause; for one that has none, those for its reason."""
    return TEXTS.get((reason, cause)) or TEXTS.get((reason, ""), _UNKNOWN)
