//! What each task of the load is: the same bytes every time, made once.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::client::Module;
use crate::model::Timestamp;

pub(super) struct Payload {
    /// One task as JSON, with a line end.
    line: Bytes,
}

impl Payload {
    pub(super) fn new(
        module: &Module,
        function: Option<&str>,
        input_bytes: usize,
        not_before: Option<Timestamp>,
    ) -> Result<Self, CliError> {
        let function = match function {
            Some(name) => module.function(name),
            None => module.sole_function(),
        };
        let Some(function) = function else {
            return Err(CliError::Usage(format!(
                "module {} has no such function, or several; name one with --function",
                module.digest
            )));
        };
        let mut task = json!({ "module": module.digest, "function": function.name });
        if input_bytes > 0 {
            task["input"] = padded(&function.input_schema.to_value(), input_bytes).ok_or_else(|| {
                CliError::Usage(format!(
                    "function `{}` takes no text, so its input cannot have {input_bytes} bytes; name another guest with --module",
                    function.name
                ))
            })?;
        }
        if let Some(moment) = not_before {
            task["not_before"] = moment.to_string().into();
        }
        Ok(Self { line: format!("{task}\n").into() })
    }

    pub(super) fn single(&self) -> Bytes {
        self.line.slice(..self.line.len() - 1)
    }

    pub(super) fn lines(&self, count: usize) -> Bytes {
        self.line.repeat(count).into()
    }

    pub(super) fn line_bytes(&self) -> usize {
        self.line.len()
    }
}

/// An input of about `bytes` bytes that fits the schema: a long text where a text may stand.
fn padded(schema: &Value, bytes: usize) -> Option<Value> {
    let text = Value::from("x".repeat(bytes));
    let takes_text = |schema: &Value| match &schema["type"] {
        Value::Null => schema.as_bool() != Some(false) && schema.get("$ref").is_none(),
        Value::String(name) => name == "string",
        Value::Array(names) => names.iter().any(|name| name == "string"),
        _ => false,
    };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return takes_text(schema).then_some(text);
    };
    let (name, _) = properties.iter().find(|(_, schema)| takes_text(schema))?;
    Some(json!({ name: text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_where_a_text_may_stand() {
        let by_name = json!({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}});
        assert_eq!(padded(&by_name, 2), Some(json!({"s": "xx"})));
        assert_eq!(padded(&json!({"type": "string"}), 2), Some(json!("xx")));
        assert_eq!(padded(&json!(true), 2), Some(json!("xx")));
        assert_eq!(padded(&json!({"type": "object", "properties": {}}), 2), None);
        assert_eq!(padded(&json!({"type": "null"}), 2), None);
    }
}
