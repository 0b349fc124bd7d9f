"""Online meetings: the join URL of an event and the block of text Teams leaves in its body.

Nobody can join; what counts is that the block survives or does not survive what a client does to the body.

Source: Graph "event resource type" and "Create or set an event as an online meeting" pages.
"""

import html
from dataclasses import replace

from sidecar.emulator.exchange.event import Content

_BLOCK = (
    '<div class="me-email-text" lang="en-US">________________________________________________________________________________'
    '<h2>Microsoft Teams meeting</h2><a id="meet_invite_block.action.join_link" href="{url}">Join the meeting now</a>'
    "________________________________________________________________________________</div>"
)


def with_online_meeting(content: Content, meeting_guid: str) -> Content:
    """Give an event a join URL, and its body the block that tells it."""
    url = f"https://teams.microsoft.com/l/meetup-join/19%3ameeting_{meeting_guid.replace('-', '')}%40thread.v2/0"
    body = content.body if content.body_type == "html" else html.escape(content.body, quote=False)
    return replace(content, body=body + _BLOCK.format(url=url), body_type="html", join_url=url)
