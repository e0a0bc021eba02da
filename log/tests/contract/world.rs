//! How each backend is opened, mistreated and made to forget.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use peep_log::{Backend, Log, LogConfig, MemoryLog, Offset, Partition, Topic};
use peep_testkit::{Broker, Database, Server, Topics};
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

pub(crate) struct World {
    config: LogConfig,
    database_url: String,
    pool: PgPool,
    memory: Mutex<Option<MemoryLog>>,
    server: Option<Server>,
    broker: Option<Broker>,
}

impl World {
    pub(crate) fn memory() -> Self {
        Self::new(Backend::Memory)
    }

    pub(crate) async fn postgres() -> Self {
        let mut world = Self::new(Backend::Postgres);
        world.use_database(&Database::fresh().await).await;
        world
    }

    pub(crate) async fn kafka() -> Self {
        let mut world = Self::new(Backend::Kafka);
        world.use_topics(&Topics::fresh().await);
        world
    }

    pub(crate) async fn open(&self) -> Arc<dyn Log> {
        self.open_with(|_| {}).await
    }

    pub(crate) async fn open_with(&self, change: impl FnOnce(&mut LogConfig)) -> Arc<dyn Log> {
        let mut config = self.config.clone();
        change(&mut config);
        if config.backend != Backend::Memory {
            return peep_log::open(&config, Topic::Events, &self.pool).await.expect("open the log");
        }
        let mut memory = self.memory.lock().expect("lock");
        let log = memory.get_or_insert_with(|| MemoryLog::open(&config, Topic::Events));
        Arc::new(log.clone())
    }

    /// A second instance of the same log, as another process would have; in memory there is only the one.
    pub(crate) async fn open_again(&self, log: &Arc<dyn Log>) -> Arc<dyn Log> {
        match self.config.backend {
            Backend::Memory => Arc::clone(log),
            Backend::Postgres | Backend::Kafka => self.open().await,
        }
    }

    /// What another process needs to open this log.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let backend = match self.config.backend {
            Backend::Memory => "memory",
            Backend::Postgres => "postgres",
            Backend::Kafka => "kafka",
        };
        vec![
            ("PEEP_LOG", backend.to_owned()),
            ("PEEP_LOG_TOPIC_PREFIX", self.config.topic_prefix.clone()),
            ("PEEP_KAFKA_BROKERS", self.config.kafka.brokers.clone()),
            ("DATABASE_URL", self.database_url.clone()),
        ]
    }

    /// Removes everything that is in the log now, as retention will one day; later records stay.
    pub(crate) async fn forget_what_is_there(&self, log: &dyn Log) {
        for partition in (0..log.partitions()).map(Partition) {
            let high = log.watermarks(partition).await.expect("watermarks").high;
            match self.config.backend {
                Backend::Memory => self.open_memory().truncate(partition, high),
                Backend::Kafka => self.delete_records(partition, high).await,
                Backend::Postgres => {}
            }
        }
        if self.config.backend == Backend::Postgres {
            self.retire_segment().await;
        }
    }

    /// Where a backend can be made to hesitate, it does until `let_appends_go`.
    pub(crate) fn hold_up_appends(&self) {
        if self.config.backend == Backend::Memory {
            self.open_memory().stall();
        }
    }

    pub(crate) fn let_appends_go(&self) {
        if self.config.backend == Backend::Memory {
            self.open_memory().resume();
        }
    }

    /// So that stopping it disturbs nobody else.
    pub(crate) async fn use_a_server_of_its_own(&mut self) {
        match self.config.backend {
            Backend::Memory => {}
            Backend::Postgres => {
                let server = Server::start().await;
                self.use_database(&server.database().await).await;
                self.server = Some(server);
            }
            Backend::Kafka => {
                let broker = Broker::start().await;
                self.use_topics(&broker.topics());
                self.broker = Some(broker);
            }
        }
    }

    pub(crate) async fn stop_server(&self) {
        match (&self.server, &self.broker) {
            (Some(server), _) => server.kill().await,
            (_, Some(broker)) => broker.kill().await,
            _ => self.open_memory().stop(),
        }
    }

    pub(crate) async fn start_server_again(&self) {
        match (&self.server, &self.broker) {
            (Some(server), _) => server.start_again().await,
            (_, Some(broker)) => broker.start_again().await,
            _ => self.open_memory().resume(),
        }
    }

    /// From now on the log takes requests and answers none.
    pub(crate) async fn hang(&self) -> Option<Transaction<'static, Postgres>> {
        match self.config.backend {
            Backend::Memory => self.open_memory().stall(),
            Backend::Kafka => self.broker.as_ref().expect("a broker of its own").freeze(),
            // Somebody holds what every append needs.
            Backend::Postgres => {
                let mut transaction = self.pool.begin().await.expect("begin");
                sqlx::query("select from log_partition for update")
                    .execute(&mut *transaction)
                    .await
                    .expect("lock the partitions");
                return Some(transaction);
            }
        }
        None
    }

    pub(crate) async fn stop_hanging(&self, hanging: Option<Transaction<'static, Postgres>>) {
        match (hanging, &self.broker) {
            (Some(transaction), _) => transaction.rollback().await.expect("let go"),
            (_, Some(broker)) => broker.thaw(),
            _ => self.open_memory().resume(),
        }
    }

    fn new(backend: Backend) -> Self {
        let unused = "postgres://nobody@127.0.0.1:1/none";
        Self {
            config: LogConfig { backend, ..LogConfig::default() },
            database_url: unused.to_owned(),
            pool: PgPoolOptions::new().connect_lazy(unused).expect("a URL"),
            memory: Mutex::new(None),
            server: None,
            broker: None,
        }
    }

    async fn use_database(&mut self, database: &Database) {
        self.database_url = database.url().to_owned();
        self.pool = database.pool().await;
    }

    fn use_topics(&mut self, topics: &Topics) {
        self.config.topic_prefix = topics.prefix().to_owned();
        self.config.kafka.brokers = topics.brokers().to_owned();
    }

    fn open_memory(&self) -> MemoryLog {
        let memory = self.memory.lock().expect("lock");
        memory.clone().expect("the log is open")
    }

    /// What the retention task does, at once.
    async fn retire_segment(&self) {
        let topic = self.config.topic_name(Topic::Events);
        let retired: i64 = sqlx::query_scalar(
            "with current as (select max(segment) as segment from log_segment where topic = $1)
             select segment from current, log_rotate($1, segment) as fresh, log_retire($1, segment)",
        )
        .bind(topic)
        .fetch_one(&self.pool)
        .await
        .expect("rotate and retire");
        sqlx::query(AssertSqlSafe(format!("drop table log_record_{retired}")))
            .execute(&self.pool)
            .await
            .expect("drop the segment");
    }

    async fn delete_records(&self, partition: Partition, before: Offset) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.config.kafka.brokers).create().expect("admin client");
        let mut offsets = TopicPartitionList::new();
        let topic = self.config.topic_name(Topic::Events);
        let offset = rdkafka::Offset::Offset(before.0 as i64);
        offsets.add_partition_offset(&topic, partition.0 as i32, offset).expect("an offset");
        admin.delete_records(&offsets, &AdminOptions::new()).await.expect("delete records");
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as i64
}
