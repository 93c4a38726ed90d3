"""Following: one object from ranked URLs, whoever of the servers fails meanwhile.

    async with make_session() as session:
        with PartialFile(Path("film.mp4")) as file:
            source = Redirect("https://fleet.example.net/r/film.mp4")
            outcome = await follow(session, file, source=source, begun=file.begun)
            file.finish(sha256=None)

`course` decides who is asked for what and when a server is left, and cannot act; `following` does
it. A list of URLs comes from the caller, or from a `ListSource`, which is asked again in time.
Whatever has `begin`, `take` and `begin_anew` may take the bytes: a file, a player.
"""

from ocaserve.client.asking import AskError, ListSource, Ranked, Redirect, Steering
from ocaserve.client.course import Change, Version
from ocaserve.client.following import (
    Anew,
    Asked,
    Begun,
    Figures,
    FollowError,
    Going,
    News,
    NotHeard,
    NotTold,
    Outcome,
    Receiver,
    Waiting,
    follow,
    make_session,
)
from ocaserve.client.limits import Patience
from ocaserve.client.receiving import PartialFile, Stream

__all__ = [
    "Anew",
    "AskError",
    "Asked",
    "Begun",
    "Change",
    "Figures",
    "FollowError",
    "Going",
    "ListSource",
    "News",
    "NotHeard",
    "NotTold",
    "Outcome",
    "PartialFile",
    "Patience",
    "Ranked",
    "Receiver",
    "Redirect",
    "Steering",
    "Stream",
    "Version",
    "Waiting",
    "follow",
    "make_session",
]
