use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::credential::{OauthRefresh, TokenEndpointAuth};
use crate::id::SecretId;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn id(number: u128) -> SecretId {
    SecretId::from_uuid(Uuid::from_u128(number))
}

fn counted(first: u128) -> impl FnMut(&str) -> SecretId {
    let mut next = first;
    move |_| {
        next += 1;
        id(next - 1)
    }
}

fn create(auth: Value) -> Result<ChangedAuth, InvalidField> {
    let draft: AuthDraft = serde_json::from_value(auth).unwrap();
    draft.resolve(None, NOW, counted(1))
}

fn change(before: CredentialAuth, auth: Value) -> Result<ChangedAuth, InvalidField> {
    let patch: AuthPatch = serde_json::from_value(auth).unwrap();
    patch.apply_to(before, Some("deploys"), NOW, counted(101))
}

fn names(changed: &ChangedAuth) -> Vec<&str> {
    changed.new_secrets.iter().map(|new| new.name.as_str()).collect()
}

fn variable() -> Value {
    json!({
        "type": "environment_variable", "secret_name": "DEPLOY_TOKEN", "secret_value": "sesame",
        "networking": {"type": "limited", "allowed_hosts": ["*.example.com", "10.0.0.1:8443"]},
    })
}

fn oauth() -> Value {
    json!({
        "type": "mcp_oauth", "access_token": "sesame", "mcp_server_url": "https://mcp.example.com/mcp",
        "expires_at": "1970-01-02T00:00:00Z",
        "refresh": {
            "client_id": "c", "refresh_token": "r", "token_endpoint": "https://id.example.com/token",
            "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "s"},
            "scope": "read",
        },
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[test]
fn a_variable_is_replaced_in_headers_unless_it_is_said_otherwise() {
    let location = |given: Value| {
        let changed = create(with(variable(), "injection_location", given)).unwrap();
        match changed.auth {
            CredentialAuth::EnvironmentVariable { injection_location, .. } => injection_location,
            other @ (CredentialAuth::StaticBearer { .. } | CredentialAuth::McpOauth { .. }) => {
                panic!("{other:?}")
            }
        }
    };
    assert_eq!(location(Value::Null), InjectionLocation::default());
    let body_only = InjectionLocation { header: false, body: true, query: false, basic: false };
    assert_eq!(location(json!({"header": false, "body": true})), body_only);
    let none = json!({"header": false});
    let fault = create(with(variable(), "injection_location", none)).unwrap_err();
    assert_eq!(fault.field, "auth.injection_location");
}

#[test]
fn a_change_replaces_the_values_that_it_brings_and_nothing_else() {
    let before = create(oauth()).unwrap();
    assert_eq!(names(&before), ["token", "refresh_token", "client_secret"]);
    let refresh = json!({"scope": "", "token_endpoint_auth": {"type": "client_secret_basic"}});
    let patch =
        json!({"type": "mcp_oauth", "access_token": "new", "expires_at": null, "refresh": refresh});
    let after = change(before.auth, patch).unwrap();
    assert_eq!(names(&after), ["deploys"]);
    let expected = CredentialAuth::McpOauth {
        access_token: id(101),
        mcp_server_url: "https://mcp.example.com/mcp".to_owned(),
        expires_at: None,
        refresh: Some(OauthRefresh {
            client_id: "c".to_owned(),
            refresh_token: id(2),
            token_endpoint: "https://id.example.com/token".to_owned(),
            token_endpoint_auth: TokenEndpointAuth::ClientSecretBasic { client_secret: id(3) },
            resource: None,
            scope: None,
        }),
    };
    assert_eq!(after.auth, expected);
}

#[test]
fn what_is_fixed_is_fixed() {
    let stored = create(variable()).unwrap().auth;
    let renamed = json!({"type": "environment_variable", "secret_name": "OTHER_TOKEN"});
    assert_eq!(change(stored.clone(), renamed).unwrap_err().field, "auth.secret_name");
    let other = json!({"type": "static_bearer", "token": "t"});
    assert_eq!(change(stored, other).unwrap_err().field, "auth.type");
    let stored = create(oauth()).unwrap().auth;
    let moved = json!({"type": "mcp_oauth", "mcp_server_url": "https://elsewhere.example.com"});
    assert_eq!(change(stored.clone(), moved).unwrap_err().field, "auth.mcp_server_url");
    let posted = json!({"type": "mcp_oauth", "refresh": {"token_endpoint_auth": {"type": "client_secret_post"}}});
    let fault = change(stored, posted).unwrap_err();
    assert_eq!(fault.to_string(), "auth.refresh.token_endpoint_auth.client_secret: is needed");
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_without_its_value() {
    let bearer =
        json!({"type": "static_bearer", "token": "sesame", "mcp_server_url": "https://a.b/mcp"});
    let limited = |hosts: Value| json!({"type": "limited", "allowed_hosts": hosts});
    let cases = [
        (with(variable(), "secret_name", json!("A-B")), "auth.secret_name"),
        (with(variable(), "secret_name", json!("HTTPS_PROXY")), "auth.secret_name"),
        (with(variable(), "secret_value", json!("sesame\n")), "auth.secret_value"),
        (with(variable(), "secret_value", json!("")), "auth.secret_value"),
        (
            with(variable(), "networking", limited(json!(["https://a.b"]))),
            "auth.networking.allowed_hosts[0]",
        ),
        (
            with(variable(), "networking", limited(json!(["a.b/c"]))),
            "auth.networking.allowed_hosts[0]",
        ),
        (
            with(variable(), "networking", limited(json!(["a.b", "::1"]))),
            "auth.networking.allowed_hosts[1]",
        ),
        (
            with(variable(), "networking", limited(json!(vec!["a.b"; 17]))),
            "auth.networking.allowed_hosts",
        ),
        (with(bearer.clone(), "token", json!("Bearer sesame")), "auth.token"),
        (with(bearer.clone(), "mcp_server_url", json!("ftp://a.b")), "auth.mcp_server_url"),
        (with(bearer.clone(), "mcp_server_url", json!("https://u:p@a.b")), "auth.mcp_server_url"),
        (with(bearer.clone(), "mcp_server_url", json!("https://a.b/#x")), "auth.mcp_server_url"),
        (with(bearer, "mcp_server_url", json!("https:///x")), "auth.mcp_server_url"),
        (with(oauth(), "access_token", json!("ses ame")), "auth.access_token"),
        (with(oauth(), "expires_at", json!("1970-01-01T00:00:00Z")), "auth.expires_at"),
    ];
    for (body, field) in cases {
        let fault = create(body.clone()).unwrap_err();
        assert_eq!(fault.field, field, "{body}");
        assert!(!fault.problem.contains("sesame") && !fault.problem.contains("ses ame"), "{fault}");
    }
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let draft: AuthDraft = serde_json::from_value(oauth()).unwrap();
    let shown = format!("{draft:?}");
    assert!(
        !shown.contains("sesame") && !shown.contains("\"r\"") && !shown.contains("\"s\""),
        "{shown}"
    );
}
