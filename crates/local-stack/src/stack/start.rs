//! Brings a stack up, or brings back what is missing of it.

use futures::future::{try_join, try_join_all};

use super::{Stack, StackBuilder};
use crate::cache::ToolCache;
use crate::data_directory::DataDirectory;
use crate::failure::StackError;
use crate::parts;
use crate::plan::{Plan, draw};
use crate::process::Part;
use crate::supervisor::Supervisor;

impl Stack {
    /// On a failure everything that was started here is ended again; what ran before goes on.
    pub(super) async fn start(builder: StackBuilder) -> Result<Self, StackError> {
        let data = DataDirectory::create(&builder.data_directory)?;
        let _turn = data.lock(&builder.progress).await?;
        let supervisor = Supervisor::new(data.clone())?;
        let running = if supervisor.is_anything_alive() { Plan::load(&data)? } else { None };
        let plan = match running {
            Some(plan) => {
                builder.progress.step("the stack runs already: starting what is missing");
                plan
            }
            None => draw(&builder.request, &data)?,
        };
        for detour in &builder.request.detours {
            if let Ok(port) = plan.port_of(detour.to.into()) {
                detour.leads_to(port);
            }
        }
        let stack = Self::new(data, plan, supervisor, builder.progress);
        stack.install().await?;
        stack.plan.save(&stack.data)?;
        let brought_up = Box::pin(stack.bring_up()).await;
        if brought_up.is_err() && !stack.supervisor.is_anything_alive() {
            Plan::forget(&stack.data);
        }
        brought_up.map(|()| stack)
    }

    /// Starts whatever is missing of a stack that runs, and answers when all of it is ready.
    pub async fn repair(&self) -> Result<(), StackError> {
        let _turn = self.data.lock(&self.progress).await?;
        Box::pin(self.bring_up()).await
    }

    async fn install(&self) -> Result<(), StackError> {
        let cache = ToolCache::new(self.plan.cache.clone(), self.progress);
        let gateway = async {
            if self.plan.has(Part::Litellm) {
                parts::install_litellm(&cache).await?;
            }
            Ok(())
        };
        let harnesses = async {
            if self.plan.has(Part::SandboxService) {
                parts::install_harnesses(&self.plan.root, &cache).await?;
            }
            Ok(())
        };
        try_join(gateway, harnesses).await.map(drop)
    }

    async fn bring_up(&self) -> Result<(), StackError> {
        let names: Vec<String> = self.missing().map(|name| name.to_string()).collect();
        if !names.is_empty() {
            self.progress.step(&format!("starting {} …", names.join(", ")));
        }
        // LiteLLM takes longest to start and nobody needs it to start, so it comes up beside the others.
        try_join(Box::pin(self.bring_up_models()), Box::pin(self.bring_up_platform()))
            .await
            .map(drop)
    }

    async fn bring_up_models(&self) -> Result<(), StackError> {
        self.ensure_part(Part::ScriptedModel).await?;
        self.ensure_part(Part::Litellm).await
    }

    async fn bring_up_platform(&self) -> Result<(), StackError> {
        let broker = async {
            self.ensure_part(Part::Epmd).await?;
            self.ensure_part(Part::Rabbitmq).await
        };
        try_join(self.ensure_part(Part::Postgres), broker).await?;
        if !self.plan.has(Part::ApiGateway) {
            return Ok(());
        }
        if self.missing().any(|name| name.part().is_service()) {
            parts::migrate(&self.plan, &self.data).await?;
            self.progress.step("the database is migrated");
        }
        try_join_all(self.plan.services().map(|name| self.ensure(name))).await.map(drop)
    }

    async fn ensure_part(&self, part: Part) -> Result<(), StackError> {
        if self.plan.has(part) { self.ensure(part.into()).await } else { Ok(()) }
    }

    fn missing(&self) -> impl Iterator<Item = crate::process::ProcessName> + '_ {
        self.plan.processes.iter().copied().filter(|&name| self.pid(name).is_none())
    }
}
