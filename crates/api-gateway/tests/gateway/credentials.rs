//! Credentials: values come in, and nothing shows them again.

use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::egress_reply::Outcome;
use platform_messaging::proto::egress::{CredentialValidated, EgressReply};
use serde_json::{Value, json};

use crate::support::{Actor, FakeVaultProxy, Gateway};

/// `/v1/vaults/…/credentials` of a new vault.
async fn new_vault(team: &Actor) -> String {
    let vault = team.post("/v1/vaults", json!({"display_name": "v"})).await.ok();
    format!("/v1/vaults/{}/credentials", vault["id"].as_str().unwrap())
}

fn variable() -> Value {
    json!({
        "type": "environment_variable", "secret_name": "DEPLOY_TOKEN", "secret_value": "s3same-variable",
        "networking": {"type": "limited", "allowed_hosts": ["*.Example.com", "10.0.0.1", "a.example:8443"]},
    })
}

fn bearer() -> Value {
    json!({"type": "static_bearer", "token": "s3same-bearer", "mcp_server_url": "https://mcp.example.com/mcp"})
}

fn oauth() -> Value {
    json!({
        "type": "mcp_oauth", "access_token": "s3same-access", "mcp_server_url": "https://mcp.example.com/mcp",
        "expires_at": "2099-01-02T00:00:00Z",
        "refresh": {
            "client_id": "c", "refresh_token": "s3same-refresh", "token_endpoint": "https://id.example.com/token",
            "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "s3same-client"},
            "scope": "read",
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_credential_is_shown_without_its_values() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let location = json!({"header": true, "body": false, "query": false, "basic": true});
    let hosts = json!(["*.example.com", "10.0.0.1", "a.example:8443"]);
    let shown = [
        json!({"type": "environment_variable", "secret_name": "DEPLOY_TOKEN",
            "networking": {"type": "limited", "allowed_hosts": hosts}, "injection_location": location}),
        json!({"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/mcp"}),
        json!({"type": "mcp_oauth", "mcp_server_url": "https://mcp.example.com/mcp",
        "expires_at": "2099-01-02T00:00:00Z", "refresh": {
            "client_id": "c", "token_endpoint": "https://id.example.com/token",
            "token_endpoint_auth": {"type": "client_secret_basic"}, "resource": null, "scope": "read",
        }}),
    ];
    let mut made = Vec::new();
    for (auth, shown) in [variable(), bearer(), oauth()].into_iter().zip(shown) {
        let body = json!({"auth": auth, "display_name": "deploys", "metadata": {"k": "v"}});
        let credential = team.post(&path, body).await.ok();
        assert_eq!(credential["type"], "vault_credential");
        assert!(credential["id"].as_str().unwrap().starts_with("vcrd_"));
        assert_eq!(credential["auth"], shown);
        let one = format!("{path}/{}", credential["id"].as_str().unwrap());
        assert_eq!(team.get(&one).await.ok(), credential);
        made.insert(0, credential);
    }
    let listed = team.get(&path).await;
    assert_eq!(listed.ok()["data"], json!(made));
    assert!(!listed.text.contains("s3same"));

    let expected = [
        ("DEPLOY_TOKEN", "s3same-variable"),
        ("client_secret", "s3same-client"),
        ("deploys", "s3same-bearer"),
        ("deploys", "s3same-access"),
        ("refresh_token", "s3same-refresh"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(gateway.opened_secrets().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_in_the_database_in_clear_nor_one_that_could_be_guessed_from_a_hash() {
    use sha2::{Digest, Sha256};

    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let body = json!({"auth": bearer()});
    let first = team.post_once(&path, "k", body.clone()).await;
    let again = team.post_once(&path, "k", body.clone()).await;
    assert_eq!(first.text, again.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = json!({"auth": {"type": "static_bearer", "token": "other", "mcp_server_url": "https://a.example"}});
    team.post_once(&path, "k", other).await.refused(409);
    assert_eq!(gateway.opened_secrets().await.len(), 1);

    let hex = |bytes: &[u8]| {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect::<String>()
    };
    let plain = [b"POST", path.as_bytes(), b"", body.to_string().as_bytes()].join(&0);
    let dump = gateway.dump().await;
    assert!(dump.contains("idempotency_keys") && dump.contains("secrets "), "{dump}");
    for known in ["s3same".to_owned(), hex(b"s3same"), hex(&Sha256::digest(&plain))] {
        assert!(!dump.contains(&known), "{known}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_replaces_values_and_the_former_ones_are_gone() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let made = team.post(&path, json!({"auth": variable()})).await.ok();
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let auth = json!({
        "type": "environment_variable", "secret_value": "s3same-new",
        "networking": {"type": "unrestricted"}, "injection_location": {"body": true, "query": true},
    });
    let change = json!({"auth": auth, "display_name": "renamed", "metadata": {"k": "v"}});
    let answer = team.post(&one, change).await;
    let changed = answer.ok();
    assert!(!answer.text.contains("s3same"));
    assert_eq!(changed["auth"]["networking"], json!({"type": "unrestricted"}));
    let location = json!({"header": true, "body": true, "query": true, "basic": true});
    assert_eq!(changed["auth"]["injection_location"], location);
    assert_eq!(changed["display_name"], "renamed");
    assert_eq!(changed["auth"]["secret_name"], "DEPLOY_TOKEN");
    let stored = vec![("DEPLOY_TOKEN".to_owned(), "s3same-new".to_owned())];
    assert_eq!(gateway.opened_secrets().await, stored);
    let kept = team.post(&one, json!({"display_name": null})).await.ok();
    assert_eq!(kept["display_name"], Value::Null);
    assert_eq!(gateway.opened_secrets().await, stored);

    for (auth, place) in [
        (json!({"type": "environment_variable", "secret_name": "OTHER"}), "auth.secret_name: "),
        (json!({"type": "static_bearer", "token": "s3same"}), "auth.type: "),
        (
            json!({"type": "environment_variable", "secret_value": "s3same\n"}),
            "auth.secret_value: ",
        ),
        (
            json!({"type": "environment_variable", "injection_location": {"header": false, "body": false, "query": false}}),
            "auth.injection_location: ",
        ),
    ] {
        let refused = team.post(&one, json!({"auth": auth})).await;
        refused.refused(400);
        assert!(refused.message().starts_with(place), "{}", refused.message());
        assert!(!refused.text.contains("s3same"), "{}", refused.text);
    }
    assert_eq!(gateway.opened_secrets().await, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_gone_once_a_credential_is_archived_or_deleted() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let mut paths = Vec::new();
    for auth in [variable(), oauth()] {
        let made = team.post(&path, json!({"auth": auth})).await.ok();
        paths.push(format!("{path}/{}", made["id"].as_str().unwrap()));
    }
    let archived = team.post_nothing(&format!("{}/archive", paths[0])).await.ok();
    assert!(archived["archived_at"].is_string());
    let refused = team.post(&paths[0], json!({"display_name": "x"})).await.refused(400);
    assert_eq!(refused["error"]["details"]["error_code"], "credential_archived");
    assert_eq!(team.get(&path).await.ok()["data"].as_array().unwrap().len(), 1);
    let all = team.get(&format!("{path}?include_archived=true")).await.ok();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let deleted = team.delete(&paths[1]).await.ok();
    assert_eq!(deleted["type"], "vault_credential_deleted");
    team.get(&paths[1]).await.refused(404);
    team.delete(&paths[1]).await.refused(404);
    assert_eq!(gateway.opened_secrets().await, []);
    // An archived vault takes no more.
    let vault = path.strip_suffix("/credentials").unwrap();
    team.post_nothing(&format!("{vault}/archive")).await.ok();
    let refused = team.post(&path, json!({"auth": variable()})).await.refused(400);
    assert_eq!(refused["error"]["details"]["error_code"], "vault_archived");
    assert_eq!(gateway.opened_secrets().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_not_found_in_another_vault_of_the_same_team() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let (path, other) = (new_vault(&team).await, new_vault(&team).await);
    let made = team.post(&path, json!({"auth": bearer()})).await.ok();
    let wrong = format!("{other}/{}", made["id"].as_str().unwrap());
    team.get(&wrong).await.refused(404);
    team.post(&wrong, json!({"display_name": "x"})).await.refused(404);
    team.post_nothing(&format!("{wrong}/archive")).await.refused(404);
    team.post_nothing(&format!("{wrong}/mcp_oauth_validate")).await.refused(404);
    team.delete(&wrong).await.refused(404);
    assert_eq!(gateway.opened_secrets().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_place_and_never_the_value() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let with = |mut auth: Value, key: &str, value: Value| {
        auth[key] = value;
        auth
    };
    for auth in [
        json!("s3same"),
        with(variable(), "type", json!("s3same")),
        with(variable(), "secret_value", json!(["s3same"])),
        with(variable(), "secret_value", json!({"s": "s3same"})),
        with(variable(), "secret_value", json!("s3same\n")),
        with(variable(), "secret_value", json!("s3same".repeat(20_000))),
        with(variable(), "secret_name", json!("1-s")),
        with(bearer(), "token", json!("Bearer s3same")),
        with(bearer(), "mcp_server_url", json!("mcp.example.com")),
        with(oauth(), "expires_at", json!("2001-01-01T00:00:00Z")),
        with(oauth(), "refresh", json!("s3same")),
    ] {
        let refused = team.post(&path, json!({"auth": auth})).await;
        refused.refused(400);
        assert!(!refused.text.contains("s3same"), "{}", refused.text);
        assert!(refused.message().starts_with("auth"), "{}", refused.text);
    }
    assert_eq!(gateway.opened_secrets().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauth_credential_is_validated_by_the_way_out() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let validation = json!({"type": "vault_credential_validation", "status": "valid", "has_refresh_token": true});
    let validated = CredentialValidated { validation: validation.to_string().into_bytes() };
    let outcome = Some(Outcome::CredentialValidated(validated));
    let way_out =
        FakeVaultProxy::run(&gateway.broker, EgressReply { error: String::new(), outcome });
    let made = team.post(&path, json!({"auth": oauth()})).await.ok();
    let one = format!("{path}/{}/mcp_oauth_validate", made["id"].as_str().unwrap());
    assert_eq!(team.post_nothing(&one).await.ok(), validation);
    let asked = way_out.asked();
    let [Action::ValidateCredential(asked)] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(made["id"].as_str().unwrap().ends_with(&asked.credential_id.replace('-', "")));

    let other = team.post(&path, json!({"auth": bearer()})).await.ok();
    let one = format!("{path}/{}/mcp_oauth_validate", other["id"].as_str().unwrap());
    team.post_nothing(&one).await.refused(400);
    assert_eq!(way_out.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_another_key_does_not_start() {
    let gateway = Gateway::start_alone().await;
    let team = gateway.team("a").await;
    let path = new_vault(&team).await;
    let other = "another-key-than-the-one-before";
    let first = team.post_once(&path, "k", json!({"auth": variable()})).await;
    team.post(&path, json!({"auth": bearer()})).await.ok();
    let said = gateway.refused_process(other).await;
    let sentence = "ENCRYPTION_KEY is not the key of this database: 2 secrets lie under key ";
    assert!(said.contains(sentence), "{said}");
    assert!(!said.contains(other), "{said}");
    let said = gateway.refused_process("short").await;
    assert!(said.contains("ENCRYPTION_KEY has fewer than 16 characters"), "{said}");
    // With the former one beside it, it does, and knows what was sent before.
    let process = gateway.rotated_process(other).await;
    let again = team.at(&process.url).post_once(&path, "k", json!({"auth": variable()})).await;
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}
