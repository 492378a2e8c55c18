//! A RabbitMQ virtual host for one test.

use std::time::Duration;

use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::servers::{TestSupportError, clean_up, server};

const SERVER: &str = "TEST_RABBITMQ_MANAGEMENT_URL";

/// A virtual host of its own, deleted with all its queues at the end of the test.
#[derive(Debug)]
pub struct TestBroker {
    name: String,
    url: String,
    management: Management,
}

#[derive(Deserialize)]
struct Overview {
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    protocol: String,
    port: u16,
}

impl TestBroker {
    pub async fn create() -> Result<Self, TestSupportError> {
        let management = Management::from_environment()?;
        let port = management.amqp_port().await?;
        let name = format!("test_{}", Uuid::now_v7().simple());
        management.send(Method::PUT, &["vhosts", &name], None).await?;
        let user = management.url.username().to_owned();
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        management.send(Method::PUT, &["permissions", &name, &user], Some(everything)).await?;
        let password = management.url.password().unwrap_or_default();
        let host = management.url.host_str().unwrap_or("127.0.0.1");
        let url = format!("amqp://{user}:{password}@{host}:{port}/{name}");
        Ok(Self { name, url, management })
    }

    /// What goes into `AMQP_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts every client's connection to this virtual host, as a broken network would.
    pub async fn cut_connections(&self) -> Result<(), TestSupportError> {
        let path = ["vhosts", self.name.as_str(), "connections"];
        let connections: Vec<Value> = self.management.get(&path).await?;
        for connection in &connections {
            if let Some(name) = connection.get("name").and_then(Value::as_str) {
                self.management.send(Method::DELETE, &["connections", name], None).await?;
            }
        }
        Ok(())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let (name, url) = (self.name.clone(), self.management.url.clone());
        clean_up(format!("virtual host {name}"), async move {
            // A client of the runtime that runs the clean-up.
            let management = Management::new(url)?;
            management.send(Method::DELETE, &["vhosts", &name], None).await
        });
    }
}

/// RabbitMQ's management API.
#[derive(Debug)]
struct Management {
    url: Url,
    client: Client,
}

impl Management {
    fn from_environment() -> Result<Self, TestSupportError> {
        let url: Url =
            server(SERVER)?.parse().map_err(|_| TestSupportError::BadUrl { name: SERVER })?;
        Self::new(url)
    }

    fn new(url: Url) -> Result<Self, TestSupportError> {
        let client = Client::builder().timeout(Duration::from_secs(30)).no_proxy().build();
        Ok(Self { url, client: client.map_err(failed("speak HTTP"))? })
    }

    async fn amqp_port(&self) -> Result<u16, TestSupportError> {
        let overview: Overview = self.get(&["overview"]).await?;
        let amqp = overview.listeners.into_iter().find(|listener| listener.protocol == "amqp");
        amqp.map(|listener| listener.port).ok_or(TestSupportError::BadUrl { name: SERVER })
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<T, TestSupportError> {
        let answer = self
            .request(Method::GET, path)?
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        let action = format!("answer {}", path.join("/"));
        answer.map_err(failed(&action))?.json().await.map_err(failed(&action))
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<(), TestSupportError> {
        let action = format!("{method} {}", path.join("/"));
        let request = self.request(method, path)?;
        // RabbitMQ refuses a PUT that has neither a body nor a length.
        let request = request.json(&body.unwrap_or_else(|| json!({})));
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(failed(&action))
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
    ) -> Result<reqwest::RequestBuilder, TestSupportError> {
        let bad = |()| TestSupportError::BadUrl { name: SERVER };
        let mut url = self.url.clone();
        url.path_segments_mut().map_err(bad)?.clear().push("api").extend(path);
        url.set_username("").and_then(|()| url.set_password(None)).map_err(bad)?;
        let request = self.client.request(method, url);
        Ok(request.basic_auth(self.url.username(), self.url.password()))
    }
}

fn failed(action: &str) -> impl FnOnce(reqwest::Error) -> TestSupportError {
    let action = action.to_owned();
    move |source| TestSupportError::Broker { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_virtual_host_lives_as_long_as_its_test() {
        let broker = TestBroker::create().await.unwrap();
        let management = Management::from_environment().unwrap();
        let path = ["vhosts", broker.name.as_str()];
        management.get::<Value>(&path).await.unwrap();
        assert!(broker.url().ends_with(&broker.name));
        broker.cut_connections().await.unwrap();

        let name = broker.name.clone();
        drop(broker);
        let gone = management.get::<Value>(&["vhosts", &name]).await;
        assert!(matches!(gone, Err(TestSupportError::Broker { .. })));
    }
}
