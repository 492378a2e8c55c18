//! Whether an agent may make a call: decided by its definition alone, before anybody is asked.

use super::tool::{PermissionPolicy, Tool};

/// What becomes of a call that the agent wants to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Allow,
    /// A person decides.
    Ask,
    Deny,
}

impl Permission {
    /// The word of `evaluated_permission` in the log.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }

    fn of(is_enabled: bool, policy: PermissionPolicy) -> Self {
        match policy {
            _ if !is_enabled => Self::Deny,
            PermissionPolicy::AlwaysAsk => Self::Ask,
            PermissionPolicy::AlwaysAllow | PermissionPolicy::Auto => Self::Allow,
        }
    }
}

/// The permission of a built-in tool, by the name that the harness has for it. A tool that the toolset does not know follows the set's
/// default; without a toolset everything is allowed.
pub fn permission_of(tools: &[Tool], name: &str) -> Permission {
    let Some((configs, default)) = toolset(tools) else { return Permission::Allow };
    let name = wire_name(name);
    match configs.iter().find(|config| Some(config.name.as_str()) == name) {
        Some(config) => Permission::of(config.enabled, config.permission_policy),
        None => Permission::of(default.enabled, default.permission_policy),
    }
}

/// Whether there is any call that may not simply be made.
pub fn needs_permission(tools: &[Tool]) -> bool {
    let Some((configs, default)) = toolset(tools) else { return false };
    let default = Permission::of(default.enabled, default.permission_policy);
    let mut all = configs.iter().map(|tool| Permission::of(tool.enabled, tool.permission_policy));
    default != Permission::Allow || all.any(|permission| permission != Permission::Allow)
}

fn toolset(tools: &[Tool]) -> Option<(&[super::ToolConfig], &super::ToolDefault)> {
    tools.iter().find_map(|tool| match tool {
        Tool::AgentToolset { configs, default_config } => {
            Some((configs.as_slice(), default_config))
        }
        Tool::McpToolset { .. } | Tool::Custom { .. } => None,
    })
}

/// The wire format's name for a tool, whatever the harness calls it.
fn wire_name(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match plain.to_ascii_lowercase().as_str() {
        "bash" | "shell" | "terminal" | "execute" | "execcommand" | "runshellcommand" => "bash",
        "edit" | "multiedit" | "patch" | "applypatch" | "strreplace" => "edit",
        "read" | "readfile" => "read",
        "write" | "writefile" => "write",
        "glob" => "glob",
        "grep" => "grep",
        "webfetch" => "web_fetch",
        "websearch" => "web_search",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agent::resolve_tools;

    fn tools(drafts: Value) -> Vec<Tool> {
        resolve_tools(serde_json::from_value(drafts).unwrap()).unwrap()
    }

    fn asking_for_bash() -> Vec<Tool> {
        tools(json!([{
            "type": "agent_toolset_20260401",
            "configs": [
                {"name": "bash", "permission_policy": {"type": "always_ask"}},
                {"name": "web_fetch", "enabled": false},
                {"name": "read", "permission_policy": {"type": "auto"}},
            ],
        }]))
    }

    #[test]
    fn each_tool_has_the_permission_of_its_own_config_by_any_of_its_names() {
        let tools = asking_for_bash();
        for (name, permission) in [
            ("bash", Permission::Ask),
            ("Bash", Permission::Ask),
            ("run_shell_command", Permission::Ask),
            ("webfetch", Permission::Deny),
            ("WebFetch", Permission::Deny),
            ("read", Permission::Allow),
            ("edit", Permission::Allow),
        ] {
            assert_eq!(permission_of(&tools, name), permission, "{name}");
        }
    }

    #[test]
    fn a_tool_that_the_set_does_not_know_follows_its_default() {
        assert_eq!(permission_of(&asking_for_bash(), "todowrite"), Permission::Allow);
        let asking = tools(json!([{
            "type": "agent_toolset_20260401",
            "configs": [{"name": "read", "permission_policy": {"type": "always_allow"}}],
            "default_config": {"permission_policy": {"type": "always_ask"}},
        }]));
        assert_eq!(permission_of(&asking, "todowrite"), Permission::Ask);
        assert_eq!(permission_of(&asking, "read"), Permission::Allow);
        let nothing = tools(json!([
            {"type": "agent_toolset_20260401", "default_config": {"enabled": false}},
        ]));
        assert_eq!(permission_of(&nothing, "task"), Permission::Deny);
    }

    #[test]
    fn without_a_toolset_everything_is_allowed() {
        let custom = tools(json!([
            {"type": "custom", "name": "add", "description": "", "input_schema": {"type": "object"}},
        ]));
        assert_eq!(permission_of(&custom, "bash"), Permission::Allow);
        assert!(!needs_permission(&custom));
    }

    #[test]
    fn permission_is_needed_as_soon_as_one_tool_asks_or_is_switched_off() {
        assert!(needs_permission(&asking_for_bash()));
        assert!(!needs_permission(&tools(json!([{"type": "agent_toolset_20260401"}]))));
        let off = json!([{"type": "agent_toolset_20260401", "configs": [{"name": "edit", "enabled": false}]}]);
        assert!(needs_permission(&tools(off)));
    }
}
