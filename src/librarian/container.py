"""Where the house is furnished: the only module that knows both the ports and their adapters."""

from importlib.metadata import version

from dependency_injector import containers, providers
from prometheus_client import CollectorRegistry

from librarian.adapters.keys.configured import ConfiguredKeys
from librarian.adapters.keys.forwarded import OpenWebUiIdentity
from librarian.adapters.letta.blocks import LettaMemory
from librarian.adapters.letta.client import LettaClient
from librarian.adapters.letta.health import LettaHealth
from librarian.adapters.letta.host import LettaHost
from librarian.adapters.letta.making import Making
from librarian.adapters.letta.models import LettaModels
from librarian.adapters.letta.placing import Placing
from librarian.adapters.letta.runtime import LettaAgents
from librarian.adapters.letta.tooling import Tooling
from librarian.adapters.pooling.local import LocalLeases
from librarian.adapters.recall.fts import FtsIndex
from librarian.adapters.sql.answers import SqlAnswers
from librarian.adapters.sql.conversations import SqlConversations
from librarian.adapters.sql.database import Database
from librarian.adapters.sql.health import StoreHealth
from librarian.adapters.sql.lines import SqlLines
from librarian.adapters.sql.memory import SqlMemory
from librarian.adapters.sql.register import SqlRegister
from librarian.adapters.sql.threads import SqlThreads
from librarian.adapters.system.clock import SystemClock, TimelyIds
from librarian.adapters.telemetry.metrics import PrometheusMeter, render
from librarian.adapters.tokens.counter import TiktokenCounter
from librarian.adapters.tokens.health import TokenHealth
from librarian.adapters.upstream.chat import UpstreamModel
from librarian.adapters.upstream.chosen import ChosenModel
from librarian.adapters.upstream.discovery import find_local
from librarian.adapters.upstream.embedder import ChosenEmbedder, UpstreamEmbedder, nowhere
from librarian.adapters.upstream.health import UpstreamHealth
from librarian.adapters.upstream.offline import OfflineModel
from librarian.application.admit import Admit
from librarian.application.bootstrap import Bootstrap
from librarian.application.converse import Converse
from librarian.application.diagnose import Diagnose
from librarian.application.embed import Embed
from librarian.application.engine.compactor import Compactor
from librarian.application.engine.context import Contexts
from librarian.application.engine.counting import Counting
from librarian.application.engine.host import EmbeddedHost
from librarian.application.engine.memory_tools import MemoryTools
from librarian.application.engine.runtime import EmbeddedAgents
from librarian.application.go_on import GoOn
from librarian.application.keep_agents import KeepAgents
from librarian.application.keep_answers import KeepAnswers
from librarian.application.keep_conversations import KeepConversations
from librarian.application.lifetime import Lifetime
from librarian.application.list_models import ListModels
from librarian.application.ports.administration import AgentHost, AgentRegister
from librarian.application.ports.agents import AgentRuntime
from librarian.application.ports.answers import AnswerStore
from librarian.application.ports.clock import Clock, Ids
from librarian.application.ports.conversations import ConversationStore
from librarian.application.ports.embedder import Embedder
from librarian.application.ports.keys import ForwardedIdentity, KeyStore
from librarian.application.ports.leases import Leases
from librarian.application.ports.lines import Lines
from librarian.application.ports.memory import MemoryStore
from librarian.application.ports.meter import Meter
from librarian.application.ports.models import LanguageModel
from librarian.application.ports.recall import RecallIndex
from librarian.application.ports.threads import ThreadStore
from librarian.application.ports.tokens import TokenCounter
from librarian.application.reconcile import Reconcile
from librarian.application.recover import Recover
from librarian.application.remember import Remember
from librarian.application.replays import Replays
from librarian.application.shorten import Shorten
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
    kept_memory: providers.Provider[MemoryStore] = providers.Singleton(
        SqlMemory, database=database, clock=clock, ids=ids
    )
    threads: providers.Provider[ThreadStore] = providers.Singleton(SqlThreads, database=database)
    index: providers.Provider[RecallIndex] = providers.Singleton(
        FtsIndex, folder=own.recall_dir, store=database.provided.identity
    )
    keys: providers.Provider[KeyStore] = providers.Singleton(
        ConfiguredKeys,
        own.secret,
        asserts_subject=own.identity.assert_subject,
        requires_subject=own.identity.require_subject,
    )
    forwarded: providers.Provider[ForwardedIdentity] = providers.Singleton(
        OpenWebUiIdentity, own.identity.secret, clock=clock
    )

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
    own_model: providers.Provider[LanguageModel] = providers.Callable(ChosenModel.itself, chosen)

    upstream_embedder: providers.Provider[Embedder] = providers.Factory(
        UpstreamEmbedder,
        api_key=own.upstream.secret,
        model=own.upstream.embedding_model,
        headers=own.upstream.plain_headers,
        connect_s=own.upstream.connect_s,
        first_event_s=own.upstream.first_event_s,
    )
    embedder: providers.Provider[Embedder] = providers.Singleton(
        ChosenEmbedder,
        place=providers.Selector(own.embedding, upstream=chosen.provided.base_url, nowhere=providers.Object(nowhere)),
        at=upstream_embedder.provider,
    )

    letta = providers.Singleton(
        LettaClient,
        own.letta.address,
        own.letta.secret,
        timeout_s=own.letta.timeout_s,
        connect_s=own.letta.connect_s,
        first_event_s=own.letta.first_event_s,
        idle_s=own.letta.idle_s,
    )
    tooling = providers.Singleton(Tooling, client=letta, templates=own.templates, watching=own.tools_watched)
    making = providers.Singleton(
        Making,
        client=letta,
        backend=own.letta.address,
        threads=threads,
        kept=kept_memory,
        model=own.letta.model,
        embedding=own.letta.embedding,
        templates=own.templates,
        windows_tokens=own.windows_tokens,
        tooling=tooling,
        clock=clock,
    )
    letta_memory: providers.Provider[MemoryStore] = providers.Singleton(
        LettaMemory,
        client=letta,
        backend=own.letta.address,
        making=making,
        threads=threads,
        kept=kept_memory,
        clock=clock,
        house=database.provided.identity,
    )
    letta_models = providers.Singleton(
        LettaModels,
        client=letta,
        making=making,
        base_url=own.letta.address,
        upstream=providers.Selector(own.upstream.given, yes=own_model, no=providers.Object(None)),
    )

    letta_health = providers.Singleton(
        LettaHealth,
        client=letta,
        base_url=own.letta.address,
        clock=clock,
        model=own.letta.model,
        embedding=own.letta.embedding,
        catalog=own.catalog,
    )

    memory = providers.Selector(own.backend, embedded=kept_memory, letta=letta_memory)
    model = providers.Selector(
        own.backend, embedded=own_model, letta=providers.Callable(LettaModels.itself, letta_models)
    )

    models = providers.Singleton(
        ListModels,
        model=model,
        embedder=embedder,
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
    embed = providers.Singleton(Embed, embedder=embedder, models=models, counting=counting)
    compactor = providers.Singleton(Compactor, model=model, meter=meter)
    memory_tools = providers.Singleton(MemoryTools, memory=memory, remember=remember, meter=meter, clock=clock)
    embedded_agents: providers.Provider[AgentRuntime] = providers.Singleton(
        EmbeddedAgents,
        model=model,
        memory=memory,
        tools=memory_tools,
        contexts=providers.Singleton(Contexts, counting=counting, compactor=compactor),
        counting=counting,
        most_steps=own.engine.most_steps,
    )
    letta_agents: providers.Provider[AgentRuntime] = providers.Singleton(
        LettaAgents,
        client=letta,
        making=making,
        placing=providers.Singleton(Placing, client=letta, backend=own.letta.address, threads=threads),
        memory=letta_memory,
        tools=memory_tools,
        counting=counting,
        most_steps=own.engine.most_steps,
        strict=own.letta.strict,
    )
    agents = providers.Selector(own.backend, embedded=embedded_agents, letta=letta_agents)
    leases: providers.Provider[Leases] = providers.Singleton(LocalLeases, pool, clock=clock)
    register: providers.Provider[AgentRegister] = providers.Singleton(SqlRegister, database=database, clock=clock)
    embedded_host: providers.Provider[AgentHost] = providers.Singleton(
        EmbeddedHost, memory=kept_memory, register=register
    )
    letta_host: providers.Provider[AgentHost] = providers.Singleton(
        LettaHost,
        client=letta,
        backend=own.letta.address,
        making=making,
        memory=letta_memory,
        threads=threads,
        register=register,
        tooling=tooling,
        health=letta_health,
        templates=own.templates,
    )
    host = providers.Selector(own.backend, embedded=embedded_host, letta=letta_host)
    bootstrap = providers.Singleton(Bootstrap, host=host)
    keep_agents = providers.Singleton(
        KeepAgents, register=register, host=host, memory=memory, index=index, models=models, clock=clock
    )
    converse = providers.Singleton(
        Converse,
        agents=agents,
        register=register,
        memory=memory,
        model=model,
        models=models,
        leases=leases,
        conversations=conversations,
        reconcile=providers.Singleton(Reconcile, conversations=conversations, ids=ids),
        replays=providers.Singleton(Replays, conversations=conversations, clock=clock),
        remember=remember,
        modes=providers.Singleton(ModeSelector),
        counting=counting,
        meter=meter,
        clock=clock,
        ids=ids,
    )
    answers: providers.Provider[AnswerStore] = providers.Singleton(SqlAnswers, database=database)
    lines: providers.Provider[Lines] = providers.Singleton(SqlLines, database=database)
    go_on = providers.Singleton(GoOn, conversations=conversations, answers=answers, lines=lines)
    keep_answers = providers.Singleton(KeepAnswers, answers=answers)
    keep_conversations = providers.Singleton(
        KeepConversations, lines=lines, conversations=conversations, index=index, clock=clock, ids=ids
    )
    admit = providers.Singleton(Admit, keys=keys, forwarded=forwarded)
    diagnose = providers.Singleton(
        Diagnose,
        parts=providers.List(
            providers.Singleton(StoreHealth, database=database),
            providers.Selector(
                own.backend,
                embedded=providers.Singleton(UpstreamHealth, model=chosen),
                letta=letta_health,
            ),
            providers.Singleton(TokenHealth, tokens=tokens),
        ),
        clock=clock,
    )
    lifetime = providers.Singleton(
        Lifetime,
        opening=providers.List(database.provided.open),
        recover=providers.Singleton(
            Recover,
            register=register,
            memory=memory,
            alone=database.provided.was_alone,
            clock=clock,
            turn_s=own.http.turn_s,
        ),
        closing=providers.List(
            database.provided.aclose,
            index.provided.aclose,
            embedder.provided.aclose,
            model.provided.aclose,
            agents.provided.aclose,
        ),
    )
    front_door = providers.Singleton(
        make_front_door,
        converse=converse,
        embed=embed,
        models=models,
        agents=keep_agents,
        go_on=go_on,
        shorten=providers.Singleton(Shorten, models=models, counting=counting, compactor=compactor),
        answers=keep_answers,
        conversations=keep_conversations,
        diagnose=diagnose,
        admit=admit,
        render_metrics=providers.Selector(
            own.http.metrics_switch, on=providers.Callable(render, registry).provider, off=providers.Object(None)
        ),
        opening=providers.List(lifetime.provided.open, tooling.provided.open),
        closing=providers.List(lifetime.provided.aclose, tooling.provided.aclose),
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
