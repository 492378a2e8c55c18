//! A PostgreSQL database for one test.

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::migrations;
use crate::servers::{TestSupportError, clean_up, server};

const SERVER: &str = "TEST_DATABASE_URL";
/// Any number, the same for everybody who makes the template.
const TEMPLATE_LOCK: i64 = 0x006c_6170_7465_7374;

/// A database of its own, migrated, and dropped at the end of the test.
///
/// It is cloned from a template that was migrated once, which takes about as long as creating an empty one.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    server: Config,
}

impl TestDatabase {
    pub async fn create() -> Result<Self, TestSupportError> {
        let server: Config =
            server(SERVER)?.parse().map_err(|_| TestSupportError::BadUrl { name: SERVER })?;
        let admin = connect(&server).await?;
        let template = ensure_template(&server, &admin).await?;
        let name = format!("test_{}", Uuid::now_v7().simple());
        execute(&admin, &format!("create database {name} template {template}")).await?;
        let url = url(&server, &name)?;
        Ok(Self { name, url, server })
    }

    /// What goes into `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A plain connection for a test that looks at rows itself.
    pub async fn connect(&self) -> Result<Client, TestSupportError> {
        connect(self.server.clone().dbname(&self.name)).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), self.server.clone());
        clean_up(format!("database {name}"), async move {
            let admin = connect(&server).await?;
            execute(&admin, &format!("drop database if exists {name} with (force)")).await
        });
    }
}

/// Makes the migrated template unless another test has. Its name changes with the migrations.
async fn ensure_template(server: &Config, admin: &Client) -> Result<String, TestSupportError> {
    let migrations = migrations::read()?;
    let template = format!("template_{}", migrations::fingerprint(&migrations));
    if exists(admin, &template).await? {
        return Ok(template);
    }
    execute(admin, &format!("select pg_advisory_lock({TEMPLATE_LOCK})")).await?;
    if !exists(admin, &template).await? {
        let unfinished = format!("unfinished_{template}");
        execute(admin, &format!("drop database if exists {unfinished} with (force)")).await?;
        execute(admin, &format!("create database {unfinished} template template0")).await?;
        let client = connect(server.clone().dbname(&unfinished)).await?;
        migrations::apply(&client, &migrations).await?;
        drop(client);
        close_connections(admin, &unfinished).await?;
        execute(admin, &format!("alter database {unfinished} rename to {template}")).await?;
    }
    execute(admin, &format!("select pg_advisory_unlock({TEMPLATE_LOCK})")).await?;
    Ok(template)
}

/// A database with connections can be neither renamed nor cloned, and a dropped client closes only soon.
async fn close_connections(admin: &Client, name: &str) -> Result<(), TestSupportError> {
    let close = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{name}'"
    );
    execute(admin, &close).await
}

async fn exists(admin: &Client, name: &str) -> Result<bool, TestSupportError> {
    let found = admin.query_opt("select 1 from pg_database where datname = $1", &[&name]).await;
    Ok(found.map_err(failed("look for the template"))?.is_some())
}

async fn execute(client: &Client, sql: &str) -> Result<(), TestSupportError> {
    client.batch_execute(sql).await.map_err(failed(sql))
}

async fn connect(config: &Config) -> Result<Client, TestSupportError> {
    let (client, connection) = config.connect(NoTls).await.map_err(failed("be reached"))?;
    // Ends when the client is dropped; what goes wrong before that, the client's next call says.
    drop(tokio::spawn(connection));
    Ok(client)
}

fn failed(action: &str) -> impl FnOnce(tokio_postgres::Error) -> TestSupportError {
    let action = action.to_owned();
    move |source| TestSupportError::Database { action, source }
}

/// The URL of another database on the same server.
fn url(server: &Config, name: &str) -> Result<String, TestSupportError> {
    let bad = || TestSupportError::BadUrl { name: SERVER };
    let (Some(Host::Tcp(host)), Some(port)) =
        (server.get_hosts().first(), server.get_ports().first())
    else {
        return Err(bad());
    };
    let user = server.get_user().ok_or_else(bad)?;
    let password = server.get_password().map(String::from_utf8_lossy).unwrap_or_default();
    Ok(format!("postgres://{user}:{password}@{host}:{port}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_tests_do_not_see_one_another_and_leave_nothing_behind() {
        let (first, second) =
            tokio::try_join!(TestDatabase::create(), TestDatabase::create()).unwrap();
        let client = first.connect().await.unwrap();
        client.batch_execute("create table mine (id int)").await.unwrap();
        let other = second.connect().await.unwrap();
        assert!(other.batch_execute("select * from mine").await.is_err());

        let (name, server) = (first.name.clone(), first.server.clone());
        drop(first);
        let admin = connect(&server).await.unwrap();
        assert!(!exists(&admin, &name).await.unwrap());
    }

    #[tokio::test]
    async fn every_migration_is_recorded_as_diesel_records_it() {
        let database = TestDatabase::create().await.unwrap();
        let client = database.connect().await.unwrap();
        let rows =
            client.query("select version from __diesel_schema_migrations", &[]).await.unwrap();
        assert_eq!(rows.len(), migrations::read().unwrap().len());
    }
}
