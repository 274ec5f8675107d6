"""Where the house is furnished: the only module that knows both the ports and their adapters."""

from importlib.metadata import version

from dependency_injector import containers, providers
from prometheus_client import CollectorRegistry

from librarian.adapters.keys.configured import ConfiguredKeys
from librarian.adapters.pooling.local import LocalLeases
from librarian.adapters.recall.fts import FtsIndex
from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.adapters.sql.health import StoreHealth
from librarian.adapters.sql.memory import SqlMemory
from librarian.adapters.system.clock import SystemClock, TimelyIds
from librarian.adapters.telemetry.metrics import PrometheusMeter, render
from librarian.adapters.tokens.counter import TiktokenCounter
from librarian.adapters.tokens.health import TokenHealth
from librarian.adapters.upstream.chat import UpstreamModel
from librarian.adapters.upstream.chosen import ChosenModel
from librarian.adapters.upstream.discovery import find_local
from librarian.adapters.upstream.health import UpstreamHealth
from librarian.adapters.upstream.offline import OfflineModel
from librarian.application.admit import Admit
from librarian.application.converse import Converse
from librarian.application.diagnose import Diagnose
from librarian.application.engine.compactor import Compactor
from librarian.application.engine.context import Contexts
from librarian.application.engine.counting import Counting
from librarian.application.engine.memory_tools import MemoryTools
from librarian.application.engine.runtime import EmbeddedAgents
from librarian.application.lifetime import Lifetime
from librarian.application.list_models import ListModels
from librarian.application.ports.agents import AgentRuntime
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.conversations import ConversationStore
from librarian.application.ports.keys import KeyStore
from librarian.application.ports.leases import Leases
from librarian.application.ports.memory import MemoryStore
from librarian.application.ports.meter import Meter
from librarian.application.ports.models import LanguageModel
from librarian.application.ports.recall import RecallIndex
from librarian.application.ports.tokens import TokenCounter
from librarian.application.remember import Remember
from librarian.domain.mode import ModeSelector
from librarian.domain.pool import AgentPool
from librarian.entrypoints.http.app import make_front_door
from librarian.settings import Settings


class House(containers.DeclarativeContainer):
    """One instance for each process; tests make their own and override what they replace."""

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)
    own = settings.provided

    # The annotations are what let mypy hold each adapter to its port.
    clock: providers.Provider[Clock] = providers.Singleton(SystemClock)
    ids: providers.Provider[Ids] = providers.Singleton(TimelyIds)
    registry = providers.Singleton(CollectorRegistry)
    pool = providers.Singleton(AgentPool, seats=own.pool.seats, places=own.pool.places, patience_s=own.pool.patience_s)
    meter: providers.Provider[Meter] = providers.Singleton(PrometheusMeter, registry, pool=pool)
    tokens: providers.Provider[TokenCounter] = providers.Singleton(TiktokenCounter)

    database = providers.Singleton(Database, own.database)
    conversations: providers.Provider[ConversationStore] = providers.Singleton(SqlConversations, database=database)
    memory: providers.Provider[MemoryStore] = providers.Singleton(SqlMemory, database=database, clock=clock, ids=ids)
    index: providers.Provider[RecallIndex] = providers.Singleton(
        FtsIndex, folder=own.recall_dir, store=database.provided.identity
    )
    keys: providers.Provider[KeyStore] = providers.Singleton(ConfiguredKeys, own.secret)

    upstream: providers.Provider[LanguageModel] = providers.Factory(
        UpstreamModel,
        api_key=own.upstream.secret,
        model=own.upstream.model,
        headers=own.upstream.plain_headers,
        connect_s=own.upstream.connect_s,
        first_event_s=own.upstream.first_event_s,
        idle_s=own.upstream.idle_s,
    )
    offline: providers.Provider[LanguageModel] = providers.Singleton(OfflineModel, tokens=tokens)
    chosen = providers.Singleton(
        ChosenModel,
        base_url=own.upstream.base_url,
        find=providers.Callable(find_local, own_port=own.port).provider,
        discover=own.upstream.discover,
        at=upstream.provider,
        offline=offline.provider,
    )
    model: providers.Provider[LanguageModel] = providers.Callable(ChosenModel.itself, chosen)

    models = providers.Singleton(
        ListModels,
        model=model,
        named=own.catalog,
        aliases=own.aliases,
        windows_tokens=own.windows_tokens,
        clock=clock,
    )
    remember = providers.Singleton(
        Remember,
        conversations=conversations,
        memory=memory,
        index=index,
        meter=meter,
        clock=clock,
        budget_s=own.recall.budget_s,
        budget_chars=own.recall.budget_chars,
    )
    counting = providers.Singleton(Counting, tokens)
    agents: providers.Provider[AgentRuntime] = providers.Singleton(
        EmbeddedAgents,
        model=model,
        memory=memory,
        tools=providers.Singleton(MemoryTools, memory=memory, remember=remember, meter=meter, clock=clock),
        contexts=providers.Singleton(
            Contexts, counting=counting, compactor=providers.Singleton(Compactor, model=model, meter=meter)
        ),
        counting=counting,
        most_steps=own.engine.most_steps,
    )
    leases: providers.Provider[Leases] = providers.Singleton(LocalLeases, pool, clock=clock)
    converse = providers.Singleton(
        Converse,
        agents=agents,
        model=model,
        models=models,
        leases=leases,
        conversations=conversations,
        remember=remember,
        modes=providers.Singleton(ModeSelector),
        counting=counting,
        meter=meter,
        clock=clock,
        ids=ids,
    )
    admit = providers.Singleton(Admit, keys=keys)
    diagnose = providers.Singleton(
        Diagnose,
        parts=providers.List(
            providers.Singleton(StoreHealth, database=database),
            providers.Singleton(UpstreamHealth, model=chosen),
            providers.Singleton(TokenHealth, tokens=tokens),
        ),
        clock=clock,
    )
    lifetime = providers.Singleton(
        Lifetime,
        opening=providers.List(database.provided.open),
        closing=providers.List(
            database.provided.aclose, index.provided.aclose, model.provided.aclose, agents.provided.aclose
        ),
    )
    front_door = providers.Singleton(
        make_front_door,
        converse=converse,
        models=models,
        diagnose=diagnose,
        admit=admit,
        render_metrics=providers.Selector(
            own.http.metrics_switch, on=providers.Callable(render, registry).provider, off=providers.Object(None)
        ),
        opening=providers.List(lifetime.provided.open),
        closing=providers.List(lifetime.provided.aclose),
        version=version("librarian-gateway"),
        docs=own.enable_docs,
        body_limit_bytes=own.http.body_limit_bytes,
        hold_s=own.http.hold_s,
        ping_s=own.http.ping_s,
        turn_s=own.http.turn_s,
        clock=clock,
        ids=ids,
        meter=meter,
    )
