"""Each rule of `ctx.effect` broken in turn; see `bugs`."""

from __future__ import annotations

from functools import partial

from tests.sim.bug import Bug

_PROTOCOL = "agents/effects/effects.py"
_of_effects = partial(Bug, breaks="I13", app="effects_app")

EFFECT_BUGS = (
    _of_effects(
        "a call before its claim is acknowledged",
        file=_PROTOCOL,
        before="                verdict = await self._claimed(wanted)\n",
        after="                self.tail.aside(self._claimed(wanted))\n"
        '                verdict = Verdict("", 0, Standing("claimed", 0))\n',
        profile="kills",
    ),
    _of_effects(
        "a call on another's claim",
        file=_PROTOCOL,
        before='            if standing.state == "free":\n'
        "                verdict = await self._claimed(wanted)\n"
        "                if verdict.won:\n",
        after='            if standing.state in ("free", "claimed", "over"):\n'
        "                verdict = await self._claimed(wanted)\n"
        '                if verdict.standing.state in ("claimed", "over"):\n',
        profile="kills",
    ),
    _of_effects(
        "a claim that nobody looked for in the log",
        file="agents/effects/tail.py",
        before="            await self.write(record)\n            await self._caught_up",
        after="            await self.write(record)\n"
        '            return Verdict(nonce, 0, Standing("claimed", 0))\n'
        "            await self._caught_up",
        profile="churn",
    ),
    _of_effects(
        "a result written after the outcome",
        file=_PROTOCOL,
        before='        await self._say(wanted, "done", claim, result=result, error=problem)\n',
        after='        done = self._say(wanted, "done", claim, result=result, error=problem)\n'
        "        self.tail.aside(done)\n",
    ),
    _of_effects(
        "what failed for nobody knows why is called again",
        file=_PROTOCOL,
        before='            await self._say(wanted, "unknown", claim, error=_text(error))\n',
        after="            self.tail._logs[wanted.partition]._known.clear()\n",
        profile="agents",
    ),
)
