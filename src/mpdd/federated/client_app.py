"""The Flower app that a site's SuperNode starts for each message. Its node configuration names the site's experiment:

`--node-config 'experiment="site.toml" out="runs/site" secure=true epsilon=3.0 share-factors=false'`; all but the first may be
left out. With `epsilon` the site trains only with differential privacy of at most that epsilon.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from flwr.app import Context, Error, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp

from mpdd.errors import MpddError
from mpdd.federated.agreement import SECURE, require_only_prompts
from mpdd.federated.federation import DisagreementError, require_silence

if TYPE_CHECKING:
    from mpdd.federated.site import Site
    from mpdd.federated.travelling import Instruction

Next = Callable[[Message, Context], Message]
FAILED = "A site could not do its part; its own log says why."
_RAISED = 2  # Flower's code for an app that raised an error


def guarded(message: Message, context: Context, further: Next) -> Message:
    """The outermost layer: what leaves holds prompts alone, and errors leave as one sentence without text."""
    try:
        require_silence()
        reply = further(message, context)
        require_only_prompts(reply, shares_factors=bool(context.node_config.get("share-factors")))
    except DisagreementError as error:
        return _refusal(message, error, str(error))
    except MpddError as error:
        return _refusal(message, error, FAILED)
    except Exception as error:
        traceback.print_exc()
        return _refusal(message, error, FAILED)
    return reply


def secured(message: Message, context: Context, further: Next) -> Message:
    """Flower's SecAgg+ where the server asks for it; a site with `secure` trains for no server that does not."""
    if SECURE in message.content.config_records:
        reply: Message = secaggplus_mod(message, context, further)
        return reply
    if context.node_config.get("secure"):
        raise DisagreementError("This site takes part with secure aggregation alone", found="a federation without it")
    return further(message, context)


app = ClientApp(mods=[guarded])


def train(message: Message, context: Context) -> Message:
    """A round on the site's own sources."""
    from mpdd.federated import travelling

    secure = SECURE in message.content.config_records
    site, given = _opened(message, context)
    shared = site.train(given.shared, given.turn, given.privacy)
    return Message(travelling.trained(shared, site.examples, secure=secure, most_examples=given.most_examples), reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    """Takes the average as the site's own, and says how well it does."""
    from mpdd.federated import travelling

    site, given = _opened(message, context)
    loss, guarantee = site.settle(given.shared, given.turn, given.privacy)
    return Message(travelling.settled(loss, site.examples, guarantee), reply_to=message)


def query(message: Message, context: Context) -> Message:
    """The site's factors, where it shares them."""
    if not context.node_config.get("share-factors"):
        return Message(RecordDict(), reply_to=message)
    from mpdd.federated import travelling
    from mpdd.federated.site import saved_metaprompt

    file = saved_metaprompt(*_place(context))
    return Message(travelling.shared_factors(file.tensors, file.header.tasks, file.header.kinds), reply_to=message)


app.train(mods=[secured])(train)
app.evaluate()(evaluate)
app.query()(query)


def _opened(message: Message, context: Context) -> tuple[Site, Instruction]:
    from mpdd.federated import travelling
    from mpdd.federated.site import opened

    given = travelling.instruction_in(message.content)
    site = opened(*_place(context))
    given.agreement.require(site.agreement)
    _require_privacy(given, context)
    return site, given


def _require_privacy(given: Instruction, context: Context) -> None:
    """Raise `DisagreementError` where a site's node wants more privacy than the federation asks for."""
    most = context.node_config.get("epsilon")
    asked = given.privacy.epsilon if given.privacy else None
    if most is not None and (asked is None or asked > float(most)):
        raise DisagreementError(
            "This site takes part with differential privacy alone",
            found="a federation without it" if asked is None else f"epsilon {asked:g}", wanted=f"epsilon {float(most):g} or less",
        )  # fmt: skip


def _place(context: Context) -> tuple[str, str]:
    experiment = context.node_config.get("experiment")
    if not experiment:
        raise MpddError("The node's configuration names no experiment: --node-config 'experiment=\"site.toml\"'.")
    return str(experiment), str(context.node_config.get("out", ""))


def _refusal(message: Message, error: Exception, sentence: str) -> Message:
    if isinstance(error, MpddError):
        print(f"mpdd: {error}", file=sys.stderr, flush=True)
    return Message(Error(code=_RAISED, reason=sentence), reply_to=message)
