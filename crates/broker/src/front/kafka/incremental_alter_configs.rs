//! `IncrementalAlterConfigs`: some settings of topics; all others stay as they are.

use super::alter_configs::{Asked, Change, alter, check_once, no_value};
use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal};
use super::wire::{Malformed, Reader, Writer};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// One setting, and what to do with it.
struct Step {
    name: String,
    operation: i8,
    value: Option<String>,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let resources = call.body.array(|body| {
        let (kind, name) = (body.i8()?, body.text()?);
        let steps = body.array(step)?;
        body.tags()?;
        Ok(Asked { kind, name, change: change(steps) })
    })?;
    alter(call, resources, context).await
}

fn step(body: &mut Reader) -> Result<Step, Malformed> {
    let step = Step { name: body.text()?, operation: body.i8()?, value: body.nullable_text()? };
    body.tags()?;
    Ok(step)
}

fn change(steps: Vec<Step>) -> Result<Change, Refusal> {
    check_once(steps.iter().map(|step| &step.name))?;
    let mut change = Change::default();
    for Step { name, operation, value } in steps {
        match operation {
            SET => {
                let value = value.ok_or_else(|| no_value(&name))?;
                change.set.push((name, value));
            }
            DELETE => change.unset.push(name),
            APPEND | SUBTRACT => {
                let message = format!("'{name}' is no list that something could be added to or taken from");
                return Err(Refusal::new(KafkaCode::INVALID_CONFIG, message));
            }
            other => {
                let message = format!("there is no operation {other} on '{name}'");
                return Err(Refusal::new(KafkaCode::INVALID_REQUEST, message));
            }
        }
    }
    Ok(change)
}
