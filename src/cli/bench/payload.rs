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
        task["input"] = fitting(&function.input_schema.to_value().unwrap_or_default(), input_bytes).ok_or_else(|| {
            CliError::Usage(format!(
                "function `{}` takes nothing that could be made up with {input_bytes} bytes of text; name another guest with --module",
                function.name
            ))
        })?;
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

/// An input that fits the schema, with `bytes` bytes of text in its first place for a text.
fn fitting(schema: &Value, bytes: usize) -> Option<Value> {
    // `A` is a digit of base 64 too, and four of them are always whole bytes.
    let text = Value::from("A".repeat(bytes.next_multiple_of(4)));
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return match takes_text(schema) {
            true if bytes > 0 => Some(text),
            _ => (bytes == 0).then_some(Value::Null),
        };
    };
    let place = properties.iter().find(|(_, schema)| takes_text(schema)).map(|(name, _)| name.as_str());
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // Anything else that is required would have to be guessed.
    let known = required.iter().all(|name| Some(*name) == place);
    match place {
        Some(name) if known && (bytes > 0 || !required.is_empty()) => Some(json!({ name: text })),
        _ => (bytes == 0 && known).then(|| json!({})),
    }
}

fn takes_text(schema: &Value) -> bool {
    match &schema["type"] {
        Value::Null => schema.as_bool() != Some(false) && schema.get("$ref").is_none(),
        Value::String(name) => name == "string",
        Value::Array(names) => names.iter().any(|name| name == "string"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_where_a_text_may_stand() {
        let noop =
            json!({"type": "object", "required": ["input"], "properties": {"input": {"type": ["string", "array"]}}});
        let optional = json!({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}});
        let number = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        let nothing = json!({"type": "object", "properties": {}});
        for (schema, bytes, input) in [
            (&noop, 0, Some(json!({"input": ""}))),
            (&noop, 3, Some(json!({"input": "AAAA"}))),
            (&optional, 0, Some(json!({}))),
            (&optional, 4, Some(json!({"s": "AAAA"}))),
            (&number, 0, None),
            (&nothing, 0, Some(json!({}))),
            (&nothing, 4, None),
            (&json!({"type": "string"}), 4, Some(json!("AAAA"))),
            (&json!(true), 4, Some(json!("AAAA"))),
            (&json!(true), 0, Some(Value::Null)),
            (&json!({"type": "null"}), 4, None),
        ] {
            assert_eq!(fitting(schema, bytes), input, "{schema} {bytes}");
        }
    }
}
