//! What the agent of a session may call: its definition's tools, by the names that a harness has for them.

use platform_core::agent::{Permission, Tool, needs_permission, permission_of};

/// The name under which the client's own tools are offered to the harness, which puts it before theirs.
pub(super) const CUSTOM_TOOLS: &str = "client";

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Policy {
    tools: Vec<Tool>,
}

impl Policy {
    pub(super) fn new(tools: Vec<Tool>) -> Self {
        Self { tools }
    }

    pub(super) fn permission(&self, name: &str) -> Permission {
        permission_of(&self.tools, name)
    }

    /// Whether the harness has to ask before it calls anything.
    pub(super) fn needs_asking(&self) -> bool {
        needs_permission(&self.tools)
    }

    /// The client's tools: name, description, schema of the input.
    pub(super) fn custom_tools(&self) -> impl Iterator<Item = (&str, &str, &serde_json::Value)> {
        self.tools.iter().filter_map(|tool| match tool {
            Tool::Custom { name, description, input_schema } => {
                Some((name.as_str(), description.as_str(), input_schema))
            }
            Tool::AgentToolset { .. } | Tool::McpToolset { .. } => None,
        })
    }

    /// Which of the client's tools a harness means by this name: `client_add`, `mcp__client__add` and their like.
    pub(super) fn custom_tool(&self, name: &str) -> Option<&str> {
        let name = name.strip_prefix("mcp__").unwrap_or(name);
        let rest = name.strip_prefix(CUSTOM_TOOLS)?;
        let own = rest.trim_start_matches(['_', '.', '-', '/', ':']);
        let is_it = |name: &str| own == name || rest.strip_prefix('_') == Some(name);
        let mut names = self.custom_tools().map(|(name, ..)| name);
        names.find(|name| own.len() < rest.len() && is_it(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_tools_are_known_by_the_names_that_harnesses_make_of_theirs() {
        let schema = serde_json::json!({"type": "object"});
        let custom = |name: &str| Tool::Custom {
            name: name.to_owned(),
            description: String::new(),
            input_schema: schema.clone(),
        };
        let policy = Policy::new(vec![custom("add"), custom("_odd")]);
        for (name, own) in
            [("client_add", "add"), ("mcp__client__add", "add"), ("client__odd", "_odd")]
        {
            assert_eq!(policy.custom_tool(name), Some(own), "{name}");
        }
        for name in ["add", "clientadd", "client_bash", "bash", "client", "other_client_add"] {
            assert_eq!(policy.custom_tool(name), None, "{name}");
        }
    }
}
