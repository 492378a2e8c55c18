//! Variables as requests write them, and what becomes of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::id::SecretId;
use crate::network::HostPattern;
use crate::secret_text::{NewSecret, SecretText};
use crate::variable::{
    Variable, Variables, is_reserved, is_variable_name, known_hosts, looks_like_a_secret,
};
use crate::wire::{InvalidField, TextOr};

const MAX_VARIABLES: usize = 100;
/// As many as a credential may name.
const MAX_HOSTS: usize = 16;

/// Variables by name; in a change `None` takes one away.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct VariablesDraft(BTreeMap<String, Option<VariableDraft>>);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "TextOr<VariableBody>")]
struct VariableDraft(VariableBody);

impl From<TextOr<VariableBody>> for VariableDraft {
    fn from(written: TextOr<VariableBody>) -> Self {
        Self(match written {
            TextOr::Text(text) => {
                VariableBody { value: text.into(), secret: None, allowed_hosts: None }
            }
            TextOr::Full(body) => body,
        })
    }
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VariableBody {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    value: SecretText,
    /// Absent: a variable whose name ends with `_TOKEN`, `_KEY`, `_SECRET` or `_PASSWORD` is one.
    #[serde(default)]
    secret: Option<bool>,
    /// Where a secret's value may be used. Absent: the hosts that are known for the name.
    #[serde(default)]
    allowed_hosts: Option<Vec<String>>,
}

/// Variables after a change, and what it means for the stored secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedVariables {
    pub variables: Variables,
    pub new_secrets: Vec<NewSecret>,
    /// Secrets that no variable names any more.
    pub replaced: Vec<SecretId>,
}

impl VariablesDraft {
    /// Applies the change to what was there before. `new_id` gives the id of the secret of a name.
    pub fn apply_to(
        self,
        before: Variables,
        mut new_id: impl FnMut(&str) -> SecretId,
    ) -> Result<ChangedVariables, InvalidField> {
        let (mut variables, mut new_secrets, mut replaced) = (before, Vec::new(), Vec::new());
        for (name, draft) in self.0 {
            let former = match draft {
                None => variables.remove(&name),
                Some(VariableDraft(body)) => {
                    let (variable, secret) = body.resolve(&name, || new_id(&name))?;
                    new_secrets.extend(secret);
                    variables.insert(name, variable)
                }
            };
            match former {
                Some(Variable::Secret { secret_id, .. }) => replaced.push(secret_id),
                Some(Variable::Plain { .. }) | None => {}
            }
        }
        if variables.len() > MAX_VARIABLES {
            let problem = format!("at most {MAX_VARIABLES} variables are allowed");
            return Err(InvalidField::new("environment_variables", problem));
        }
        Ok(ChangedVariables { variables, new_secrets, replaced })
    }
}

impl VariableBody {
    fn resolve(
        self,
        name: &str,
        new_id: impl FnOnce() -> SecretId,
    ) -> Result<(Variable, Option<NewSecret>), InvalidField> {
        check_name("environment_variables", name)?;
        let field = format!("environment_variables.{name}");
        let Self { value, secret, allowed_hosts } = self;
        if !secret.unwrap_or_else(|| looks_like_a_secret(name)) {
            if allowed_hosts.is_some() {
                let problem = "hosts are for secrets; say \"secret\": true, or leave them out";
                return Err(InvalidField::new(format!("{field}.allowed_hosts"), problem));
            }
            check_plain(&field, value.expose())?;
            return Ok((Variable::Plain { value: value.expose().to_owned() }, None));
        }
        value.check_for_header(&field)?;
        let allowed_hosts = match allowed_hosts {
            Some(hosts) => parse_hosts(&format!("{field}.allowed_hosts"), &hosts)?,
            None => known_hosts(name).iter().filter_map(|host| host.parse().ok()).collect(),
        };
        let id = new_id();
        let new = NewSecret { id, name: name.to_owned(), value };
        Ok((Variable::Secret { secret_id: id, allowed_hosts }, Some(new)))
    }
}

/// A value may be empty, but no environment carries U+0000.
fn check_plain(field: &str, value: &str) -> Result<(), InvalidField> {
    if value.len() > 64 * 1024 {
        return Err(InvalidField::new(field, "a value has at most 65536 bytes"));
    }
    if value.contains('\0') {
        return Err(InvalidField::new(field, "a value cannot contain U+0000"));
    }
    Ok(())
}

/// A name that a variable may have, and that the sandbox does not need itself.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), InvalidField> {
    let shown: String = name.chars().take(80).collect();
    if !is_variable_name(name) {
        let problem = format!(
            "{shown:?} is no name of a variable: letters, digits and underscores, no digit first, at most 255"
        );
        return Err(InvalidField::new(field, problem));
    }
    if is_reserved(name) {
        let problem = format!("{shown} is set by the platform and cannot be given");
        return Err(InvalidField::new(field, problem));
    }
    Ok(())
}

/// Hosts where a secret may be used: a name, an IPv4 address or `*.example.com`; `:port` is ours.
pub(crate) fn parse_hosts(field: &str, hosts: &[String]) -> Result<Vec<HostPattern>, InvalidField> {
    if hosts.len() > MAX_HOSTS {
        let problem = format!("at most {MAX_HOSTS} hosts are allowed");
        return Err(InvalidField::new(field, problem));
    }
    let parse = |(index, host): (usize, &String)| {
        let is_v6 = host.contains('[') || host.matches(':').count() > 1;
        host.parse().ok().filter(|_| !is_v6).ok_or_else(|| {
            let shown: String = host.chars().take(80).collect();
            let problem = format!(
                "{shown:?} is no host name, IPv4 address or *.example.com, alone or with :port"
            );
            InvalidField::new(format!("{field}[{index}]"), problem)
        })
    };
    hosts.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn change(before: Variables, body: Value) -> Result<ChangedVariables, InvalidField> {
        let draft: VariablesDraft = serde_json::from_value(body).unwrap();
        let mut count = 100;
        draft.apply_to(before, |_| {
            count += 1;
            SecretId::from_uuid(Uuid::from_u128(count))
        })
    }

    fn secret(number: u128, hosts: &[&str]) -> Variable {
        Variable::Secret {
            secret_id: SecretId::from_uuid(Uuid::from_u128(number)),
            allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        }
    }

    fn plain(value: &str) -> Variable {
        Variable::Plain { value: value.to_owned() }
    }

    #[test]
    fn a_secret_is_one_that_is_said_to_be_or_that_is_named_like_one() {
        let changed = change(
            Variables::new(),
            json!({
                "GITHUB_TOKEN": "ghp_x",
                "LOG_LEVEL": "debug",
                "PUBLIC_KEY": {"value": "pk", "secret": false},
                "SESSION": {"value": "s", "secret": true, "allowed_hosts": ["api.example.com:8443"]},
                "OTHER_TOKEN": {"value": "t"},
            }),
        )
        .unwrap();
        let github = known_hosts("GITHUB_TOKEN");
        let expected = [
            ("GITHUB_TOKEN", secret(101, github)),
            ("LOG_LEVEL", plain("debug")),
            ("OTHER_TOKEN", secret(102, &[])),
            ("PUBLIC_KEY", plain("pk")),
            ("SESSION", secret(103, &["api.example.com:8443"])),
        ];
        assert_eq!(changed.variables, expected.map(|(name, v)| (name.to_owned(), v)).into());
        let names: Vec<_> = changed.new_secrets.iter().map(|new| new.name.as_str()).collect();
        assert_eq!(names, ["GITHUB_TOKEN", "OTHER_TOKEN", "SESSION"]);
    }

    #[test]
    fn a_change_goes_by_name_and_tells_which_secrets_it_replaces() {
        let before: Variables = [
            ("A_TOKEN", secret(1, &[])),
            ("B_TOKEN", secret(2, &[])),
            ("C_TOKEN", secret(3, &[])),
            ("D", plain("d")),
        ]
        .map(|(name, variable)| (name.to_owned(), variable))
        .into();
        let body = json!({"A_TOKEN": null, "B_TOKEN": "new", "D": null, "E": "e", "F": null});
        let changed = change(before, body).unwrap();
        let expected =
            [("B_TOKEN", secret(101, &[])), ("C_TOKEN", secret(3, &[])), ("E", plain("e"))];
        assert_eq!(changed.variables, expected.map(|(name, v)| (name.to_owned(), v)).into());
        let replaced: Vec<_> = changed.replaced.iter().map(|id| id.uuid().as_u128()).collect();
        assert_eq!(replaced, [1, 2]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place_and_without_its_value() {
        let many: serde_json::Map<_, _> = (0..101).map(|n| (format!("V{n}"), json!("x"))).collect();
        let cases = [
            (json!({"1A": "x"}), "environment_variables"),
            (json!({"A-B": "x"}), "environment_variables"),
            (json!({"PATH": "x"}), "environment_variables"),
            (json!({"A_TOKEN": ""}), "environment_variables.A_TOKEN"),
            (json!({"A_TOKEN": "sesame\n"}), "environment_variables.A_TOKEN"),
            (json!({"A": "sesame\0"}), "environment_variables.A"),
            (json!({"A": "x".repeat(65_537)}), "environment_variables.A"),
            (
                json!({"A": {"value": "x", "allowed_hosts": []}}),
                "environment_variables.A.allowed_hosts",
            ),
            (
                json!({"A_KEY": {"value": "sesame", "allowed_hosts": ["https://a.b"]}}),
                "environment_variables.A_KEY.allowed_hosts[0]",
            ),
            (
                json!({"A_KEY": {"value": "sesame", "allowed_hosts": ["[::1]"]}}),
                "environment_variables.A_KEY.allowed_hosts[0]",
            ),
            (
                json!({"A_KEY": {"value": "sesame", "allowed_hosts": vec!["a.b"; 17]}}),
                "environment_variables.A_KEY.allowed_hosts",
            ),
            (Value::Object(many), "environment_variables"),
        ];
        for (body, field) in cases {
            let fault = change(Variables::new(), body.clone()).unwrap_err();
            assert_eq!(fault.field, field, "{body}");
            assert!(!fault.problem.contains("sesame"), "{fault}");
        }
    }
}
