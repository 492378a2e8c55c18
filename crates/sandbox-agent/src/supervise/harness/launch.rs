//! How a harness is started for one session: its manifest, filled with what the session says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use platform_core::harness::Manifest;

use super::words::{self, UnknownWord, Words};
use super::{HarnessError, Places};
use crate::supervise::policy::Policy;
use crate::supervise::room::Room;

/// What decides how a harness is started.
#[derive(Debug, Clone)]
pub(in crate::supervise) struct Launch {
    pub(in crate::supervise) manifest: Manifest,
    pub(in crate::supervise) model: String,
    pub(in crate::supervise) models: Vec<String>,
    pub(in crate::supervise) system: String,
    pub(in crate::supervise) policy: Policy,
    /// Variables of the session; those of the manifest go before them.
    pub(in crate::supervise) environment: BTreeMap<String, String>,
}

impl Launch {
    /// The agent's model as the harness names it.
    pub(in crate::supervise) fn model_name(&self) -> Result<String, UnknownWord> {
        words::model_name(&self.manifest, &self.model)
    }

    /// Writes the manifest's files and the instructions into the room.
    pub(in crate::supervise) async fn write_files(
        &self,
        room: &Room,
        places: &Places,
    ) -> Result<(), HarnessError> {
        let words = Words { launch: self, places };
        for (path, content) in &self.manifest.files {
            room.write_file(&in_room(path, places), &words.fill(content)?).await?;
        }
        self.write_instructions(room, places).await
    }

    /// Writes the system prompt where the harness looks for it at each prompt. An empty one takes a former one's place.
    pub(in crate::supervise) async fn write_instructions(
        &self,
        room: &Room,
        places: &Places,
    ) -> Result<(), HarnessError> {
        if let Some(file) = &self.manifest.instructions_file {
            room.write_file(&in_room(file, places), &self.system).await?;
        }
        Ok(())
    }

    pub(super) fn command(&self, places: &Places) -> Result<Vec<String>, HarnessError> {
        let mut command = self.manifest.command.clone();
        let program = command.first_mut().ok_or(HarnessError::NoCommand)?;
        if program.contains('/') {
            *program = places.harness.join(&program).to_string_lossy().into_owned();
        }
        Ok(command)
    }

    pub(super) fn environment(
        &self,
        places: &Places,
    ) -> Result<BTreeMap<String, String>, HarnessError> {
        let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", places.harness.display());
        let mut environment: BTreeMap<String, String> = [
            ("HOME", places.home.to_string_lossy().into_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("PATH", path),
            ("SHELL", "/bin/bash".to_owned()),
            ("USER", "agent".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(self.environment.clone());
        let words = Words { launch: self, places };
        for (name, value) in &self.manifest.environment {
            environment.insert(name.clone(), words.fill(value)?);
        }
        Ok(environment)
    }
}

/// `~/` is the home; what is relative lies in the workspace.
fn in_room(path: &str, places: &Places) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => places.home.join(rest),
        None => places.workspace.join(path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn opencode_s_configuration_is_json_and_knows_every_model() {
        let (launch, places) = (words::tests::opencode(), words::tests::places());
        let environment = launch.environment(&places).unwrap();
        let configuration: Value =
            serde_json::from_str(&environment["OPENCODE_CONFIG_CONTENT"]).unwrap();
        assert_eq!(configuration["model"], "litellm/claude \"new\"");
        assert_eq!(configuration["instructions"][0], "/home/agent/.lap/instructions.md");
        let provider = &configuration["provider"]["litellm"];
        assert_eq!(provider["options"]["baseURL"], "http://127.0.0.1:4000/v1");
        let models: Vec<_> = provider["models"].as_object().unwrap().keys().collect();
        assert_eq!(models, ["demo", "claude \"new\""]);
        assert_eq!(launch.model_name().unwrap(), "litellm/claude \"new\"");
        assert_eq!(launch.command(&places).unwrap(), ["/opt/harness/bin/opencode", "acp"]);
    }

    #[test]
    fn a_program_without_a_slash_is_looked_up_by_the_room_in_the_harness_s_folder_first() {
        let mut launch = words::tests::opencode();
        launch.manifest.command = vec!["python3".to_owned(), "-m".to_owned(), "agent".to_owned()];
        let places = words::tests::places();
        assert_eq!(launch.command(&places).unwrap(), launch.manifest.command);
        assert!(launch.environment(&places).unwrap()["PATH"].starts_with("/opt/harness/bin:"));
    }

    #[test]
    fn a_session_cannot_take_the_manifest_s_variables_away() {
        let mut launch = words::tests::opencode();
        launch.environment = [("LITELLM_KEY", "mine"), ("MINE", "too")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let environment = launch.environment(&words::tests::places()).unwrap();
        assert_eq!((&*environment["LITELLM_KEY"], &*environment["MINE"]), ("none", "too"));
    }
}
