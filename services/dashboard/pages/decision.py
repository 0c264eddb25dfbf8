"""A decision's page: what came in, what it weighed, what was chosen, and what came of it."""

from typing import Final

from nicegui import ui

from services.dashboard import session, tables, wording
from services.dashboard.answers import Decision, Loop, MediaValue, Range
from services.dashboard.elements import Facts, Table, Text, box, section
from services.dashboard.frame import Crumb, Live, Tabs, frame
from services.dashboard.gateway import GatewayClient
from services.dashboard.paths import decision_path, loop_path
from services.dashboard.site import Site

# Times slower than the other pages.
SLOWER: Final = 2
# Numbers of an embedding that are written out.
NUMBERS_SHOWN: Final = 8
# Of a loop that the key may not read the kinds are not known.
MEDIA_KINDS: Final = frozenset({"image", "audio", "video", "text", ""})
# What browsers show.
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"})
# A picture of fewer bytes has so few pixels that they are shown as squares.
TINY_BYTES: Final = 1024


async def show(site: Site, key: str, loop_id: str, decision_id: str) -> None:
    """Builds the page and keeps it current: feedback and reward may come later."""
    client = GatewayClient(site.http, key)
    here = Crumb(decision_id[-8:], decision_path(loop_id, decision_id))
    # The loop's pages are for those who may read it.
    above = [Crumb(loop_id, loop_path(loop_id))] if session.may_manage() else []
    with frame([*above, here], Tabs(loop_id, "Reward")) as place:
        page = _DecisionPage()
        live = Live(lambda: client.read_decision(loop_id, decision_id), page.show, place, site.now)
        # Each reading brings the pictures and sounds again.
        await live.start(SLOWER * site.settings.dashboard_refresh)


class _DecisionPage:
    """What is known of one decision."""

    def __init__(self) -> None:
        self._shown = False
        with box("div", "title"), box("div"):
            self._heading = Text("h1", "Decision")
            self._when = Text("p", "", "note")
        self._facts = Facts(
            {
                "Reward": "what its feedback came to",
                "Propensity": "the probability with which it was drawn",
                "Model version": "which one chose",
                "Fallback": "why no model version chose, if none did",
            }
        )
        with box("div", "columns"):
            self._context = section("Context", "What was known of the moment.").body
            with box("div", "stack"):
                with section("Ranking", "The distribution that the action was drawn from.").body:
                    self._ranking = Table("Ranking", tables.RANKING, "Nothing to choose from.")
                with section("What it weighed", "How much each modality had to do with the choice.").body:
                    self._weighed = Table("What it weighed", tables.WEIGHED, "Decide with `explain` to be told.")
        with section("Feedback", "Every event about this decision, in the order it was received.").body:
            self._feedback = Table("Feedback", tables.FEEDBACK, "None yet.")

    def show(self, known: tuple[Loop | None, Decision]) -> None:
        loop, decision = known
        if not self._shown:
            self._show_choice(loop, decision)
            self._shown = True
        self._facts.show({"Reward": wording.outcome(decision, _reward_range(loop))})
        self._feedback.show(tables.feedback_rows(decision.feedback))

    def _show_choice(self, loop: Loop | None, decision: Decision) -> None:
        """What never changes once it was decided."""
        self._heading.set_text(f"Chose {decision.action_id}")
        when = f"Decided at {decision.decided_at:%Y-%m-%d %H:%M:%S} UTC · {decision.decision_id}"
        served = decision.served_action_id
        self._when.set_text(when if served is None else f"{when} · the product showed {served} instead")
        self._facts.show(
            {
                "Propensity": wording.probability(decision.probability),
                "Model version": wording.version(decision.model_version),
                "Fallback": wording.plain(decision.fallback_reason),
            }
        )
        self._ranking.show(tables.ranking_rows(decision, _reward_range(loop)))
        self._weighed.show(tables.weighed_rows(decision))
        kinds = dict.fromkeys(decision.context, "") if loop is None else loop.kinds
        with self._context:
            for name, kind in kinds.items():
                with box("div", "modality"):
                    with box("h3"):
                        Text("span", name)
                        Text("span", kind, "note")
                    _show_value(name, kind, decision)


def _reward_range(loop: Loop | None) -> Range:
    """Of a loop that the key may not read it is taken to be the usual one: it only says where bars end."""
    return (0.0, 1.0) if loop is None else loop.reward.range


def _show_value(name: str, kind: str, decision: Decision) -> None:
    """One value of the context, as people read it."""
    media = decision.media(name) if kind in MEDIA_KINDS else None
    match decision.context.get(name):
        case None:
            Text("p", "missing", "note")
        case _ if media is not None:
            _show_media(name, media)
        case str(text):
            Text("blockquote", text)
        case list(numbers):
            first = ", ".join(f"{number:.3g}" for number in numbers[:NUMBERS_SHOWN])
            Text("p", f"{wording.count(len(numbers))} numbers: {first}{', …' if len(numbers) > NUMBERS_SHOWN else ''}")
        case dict(table):
            with box("dl", "fields"):
                for field, value in table.items():
                    Text("dt", field)
                    Text("dd", wording.cell(value))


def _show_media(name: str, media: MediaValue) -> None:
    if media.data is None:
        Text("p", f"{media.content_type}: its bytes are stored no more", "note")
        return
    source = f"data:{media.content_type};base64,{media.data}"
    number_of_bytes = len(media.data) * 3 // 4 - media.data[-2:].count("=")
    if media.content_type in PICTURES:
        picture = ui.element("img").classes("picture pixels" if number_of_bytes < TINY_BYTES else "picture")
        picture.props.update({"src": source, "alt": f"The picture in {name}"})
    elif media.content_type.startswith("audio/"):
        sound = ui.element("audio").classes("sound")
        sound.props.update({"src": source, "controls": True, "aria-label": f"The sound in {name}"})
    elif media.content_type.startswith("video/"):
        clip = ui.element("video").classes("picture")
        clip.props.update({"src": source, "controls": True, "muted": True, "aria-label": f"The clip in {name}"})
    Text("p", f"{media.content_type}, {wording.size(number_of_bytes)}", "note")
