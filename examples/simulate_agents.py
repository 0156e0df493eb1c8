"""How do agents live with a budget? A simulation: made-up traffic, a real gatekeeper.

    gatekeeper serve                                              # in one terminal
    python examples/simulate_agents.py --agents 20 --seconds 30   # in another

Agents of five types work for three campaigns, each with a cap of its own. Some of their calls fail, and one agent runs
in circles until the budget of its run stops it. Only `gatekeeper_client` is needed: read from `make_call` downwards.
The token comes from GATEKEEPER_TOKEN or GATEKEEPER_TOKEN_FILE; it must be an operator's, who may set caps and spend.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic

from gatekeeper_client import AsyncClient, BudgetDenied, GatekeeperError, TokenEstimate, TokenUsage, from_money
from gatekeeper_client.ids import new_reservation_id as new_id
from gatekeeper_client.v1.reservation_pb2 import DENIAL_REASON_HEADROOM_HELD, Denial

CAMPAIGN_CAPS = {"spring-launch": "30", "newsletter": "15", "retargeting": "8"}
RUN_CAP = "0.50"
# Agent types, and the most tokens that a call of theirs takes. Tokens without a model are priced by agent type.
TOKENS_MAX = {"content": 4000, "seo": 1500, "email": 900, "ad": 600, "design": 6000}


class ModelFailedError(Exception):
    """The language model gave no answer, and took no money."""


@dataclass(kw_only=True)
class Simulation:
    """What all agents share: the way to the gatekeeper, whose money it is, and what has happened so far."""

    client: AsyncClient
    organization: str
    chance: random.Random
    until: float
    happened: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)

    async def make_call(self, agent: str, agent_type: str, campaign: str, run: str) -> Denial | None:
        """Hold what the call may cost at most, make it, and settle what it cost. Return the no, if it was one."""
        most = TokenEstimate(input_tokens=TOKENS_MAX[agent_type] // 2, max_output_tokens=TOKENS_MAX[agent_type] // 2)
        try:
            async with self.client.reserve(
                self.organization, campaign=campaign, agent=agent, agent_type=agent_type, run=run, tokens=most, ttl=30
            ) as hold:
                usage = await self.ask_model(most)
                await hold.commit(usage=usage, quality_score=self.chance.uniform(60, 100))
                self.happened["made"] += 1
        except BudgetDenied as no:
            self.happened["denied"] += 1
            return no.denial
        except ModelFailedError:  # leaving the block gave the money back
            self.happened["failed"] += 1
        except GatekeeperError:  # no verdict, so no call: fail closed, and try again later
            self.happened["without a verdict"] += 1
            await asyncio.sleep(1)
        return None

    async def ask_model(self, most: TokenEstimate) -> TokenUsage:
        """Stand in for the language model: it takes its time, uses less than the most, and sometimes fails."""
        await asyncio.sleep(self.chance.uniform(0.05, 0.4))
        if self.chance.random() < 0.1:
            raise ModelFailedError
        used = self.chance.randint(1, most.max_output_tokens)
        return TokenUsage(input_tokens=most.input_tokens, output_tokens=used)

    async def work(self, agent: str, agent_type: str, campaign: str) -> None:
        """Go from run to run, some calls each, until the time is up or the campaign has no money left."""
        while monotonic() < self.until:
            run = f"{agent}-{new_id()}"
            for _ in range(self.chance.randint(2, 6)):
                denial = await self.make_call(agent, agent_type, campaign, run)
                if denial is None:
                    continue
                if denial.reason != DENIAL_REASON_HEADROOM_HELD:
                    self.sentences.append(f"{agent} goes home. {denial.message}")
                    return
                await asyncio.sleep(0.5)  # others hold the rest; some of it may come back

    async def run_in_circles(self, agent: str, campaign: str) -> None:
        """Loop without end, as a broken agent does. Its run has a budget, so the loop ends all the same."""
        run = f"{agent}-{new_id()}"
        await self.client.set_cap(self.organization, scope=("RUN", run), window="TOTAL", cap=RUN_CAP)
        while monotonic() < self.until:
            if denial := await self.make_call(agent, "design", campaign, run):
                self.sentences.append(f"{agent} is stopped. {denial.message}")
                return

    def counts(self) -> str:
        """Return what has happened to calls, as text."""
        return ", ".join(f"{count:,} {what}" for what, count in sorted(self.happened.items())) or "none"

    async def show(self) -> None:
        """Print a live line, ten times a second, on a terminal."""
        while sys.stdout.isatty():
            print(f"\r\x1b[Kcalls: {self.counts()}", end="", flush=True)
            await asyncio.sleep(0.1)

    async def print_summary(self) -> None:
        """Print what happened, and how the budgets stand."""
        print(f"\ncalls: {self.counts()}")
        for sentence in self.sentences:
            print(sentence)
        async for budget in self.client.list_budgets(self.organization, scope_kind="CAMPAIGN"):
            spent = from_money(budget.status.spent)
            print(f"{budget.scope.id:<14} {spent:>9.4f} of {from_money(budget.cap):.2f} USD spent")


async def simulate(target: str | None, organization: str, agents: int, seconds: float, seed: int) -> None:
    """Set the caps, let the agents work for some seconds, and sum up."""
    async with AsyncClient(target) as client:
        dice, until = random.Random(seed), monotonic() + seconds
        simulation = Simulation(client=client, organization=organization, chance=dice, until=until)
        for campaign, cap in CAMPAIGN_CAPS.items():
            await client.set_cap(organization, scope=("CAMPAIGN", campaign), cap=cap, reason="simulation")
        live_line = asyncio.create_task(simulation.show())
        async with asyncio.TaskGroup() as group:
            group.create_task(simulation.run_in_circles("runaway", "spring-launch"))
            parts = zip(range(agents), cycle(TOKENS_MAX), cycle(CAMPAIGN_CAPS), strict=False)
            for number, agent_type, campaign in parts:
                group.create_task(simulation.work(f"{agent_type}-{number:02}", agent_type, campaign))
        live_line.cancel()
        await simulation.print_summary()


def main() -> None:
    """Read the options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--target", help="the gatekeeper's address (default: BILLING_API_URL or 127.0.0.1:50051)")
    options.add_argument("--organization", default="simulation", help="whose money (default: %(default)s)")
    options.add_argument("--agents", type=int, default=15, help="how many agents beside the runaway")
    options.add_argument("--seconds", type=float, default=20, help="how long")
    options.add_argument("--seed", type=int, default=1, help="of the dice")
    try:
        asyncio.run(simulate(**vars(options.parse_args())))
    except (GatekeeperError, ValueError) as error:
        sys.exit(f"The gatekeeper does not take part: {error}")


if __name__ == "__main__":
    main()
