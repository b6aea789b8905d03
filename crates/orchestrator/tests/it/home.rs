//! A run store of a test's own: a file in a temporary directory, or a database on a server.

use std::thread;

use orchestrator::metrics::store::Store as StoreMetrics;
use orchestrator::store::{Place, Store, StoreError};
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection, raw_sql};
use telemetry::metrics::Registry;
use tempfile::TempDir;
use uuid::Uuid;

use crate::relay::Relay;

/// Where a test's store is kept. Gone with all that is in it when it is dropped.
pub(crate) enum Home {
    File(TempDir),
    Server(Database),
}

/// A database with a name that no other test has.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Home {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// None without a server.
    pub(crate) async fn server(test: &str) -> Option<Self> {
        let server = test_tools::postgres(test)?;
        let name = format!("test_{}", Uuid::new_v4().simple());
        let database = Database { server, name };
        run(
            &database.server,
            &format!("CREATE DATABASE {}", database.name),
        )
        .await;
        Some(Self::Server(database))
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::File(dir) => Place::Sqlite(dir.path().join("runs.sqlite")),
            Self::Server(database) => Place::read(&database.url(), "".into()).unwrap(),
        }
    }

    /// A store whose numbers nobody looks at. Opened twice, it is that of two processes.
    pub(crate) async fn open(&self) -> Store {
        open(&self.place()).await.unwrap()
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> String {
        let Self::Server(database) = self else {
            panic!("a file has no address");
        };
        let url = database.server.rsplit_once('/').unwrap().0;
        url.rsplit_once('@').unwrap().1.to_owned()
    }

    /// The same store, at the other end of a network.
    pub(crate) async fn open_through(&self, relay: &Relay) -> Store {
        let Self::Server(database) = self else {
            panic!("no network leads to a file");
        };
        let relayed = relay.address.to_string();
        let url = database.url().replace(&self.address(), &relayed);
        Self::try_open(&url).await.unwrap()
    }

    pub(crate) async fn try_open(url: &str) -> Result<Store, StoreError> {
        open(&Place::read(url, "".into()).unwrap()).await
    }

    /// A connection beside the store's own.
    pub(crate) async fn connect(&self) -> AnyConnection {
        match self {
            Self::File(dir) => {
                let path = dir.path().join("runs.sqlite");
                connect(&format!("sqlite:{}?mode=rwc", path.display())).await
            }
            Self::Server(database) => connect(&database.url()).await,
        }
    }

    /// Changes the store behind everybody's back.
    pub(crate) async fn sql(&self, statement: &str) {
        let mut connection = self.connect().await;
        let statement = raw_sql(AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Database {
    fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A test's own runtime cannot wait here.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run(&server, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        dropping.join().unwrap();
    }
}

async fn open(place: &Place) -> Result<Store, StoreError> {
    let metrics = StoreMetrics::register(&Registry::new("test").unwrap()).unwrap();
    Store::open(place, metrics).await
}

async fn connect(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let options: AnyConnectOptions = url.parse().unwrap();
    options.connect().await.unwrap()
}

async fn run(url: &str, statement: &str) {
    let mut connection = connect(url).await;
    let statement = raw_sql(AssertSqlSafe(statement.to_owned()));
    statement.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Tests that are the same wherever the store is kept: sentences over a home.
macro_rules! at_every_home {
    ($($sentence:ident),+ $(,)?) => {
        mod in_a_file {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $sentence() {
                    super::$sentence($crate::home::Home::file()).await;
                }
            )+
        }

        mod on_a_server {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $sentence() {
                    let test = concat!(module_path!(), "::", stringify!($sentence));
                    if let Some(home) = $crate::home::Home::server(test).await {
                        super::$sentence(home).await;
                    }
                }
            )+
        }
    };
}
pub(crate) use at_every_home;
