//! Of random types and random values: what goes in comes out, and the schema agrees.

use proptest::collection::vec;
use proptest::prelude::*;
use wasmtime::component::Val;

use super::super::names::Names;
use super::super::number::Int;
use super::super::shape::{Cases, Fields, Shape};
use super::super::{Returned, Signature};

fn shapes() -> impl Strategy<Value = Shape> {
    let ints = [Int::S8, Int::U8, Int::S16, Int::U16, Int::S32, Int::U32, Int::S64, Int::U64];
    let leaf = prop_oneof![
        Just(Shape::Bool),
        proptest::sample::select(ints.to_vec()).prop_map(Shape::Int),
        Just(Shape::F32),
        Just(Shape::F64),
        Just(Shape::Char),
        Just(Shape::String),
        proptest::option::of(0..5usize).prop_map(|length| Shape::Bytes { length }),
        (1..20usize).prop_map(|count| Shape::Enum(names(count))),
        (1..20usize).prop_map(|count| Shape::Flags(names(count))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            (boxed.clone(), proptest::option::of(0..4usize)).prop_map(|(element, length)| match *element {
                Shape::Int(Int::U8) => Shape::Bytes { length },
                _ => Shape::List { element, length },
            }),
            boxed.clone().prop_map(|value| Shape::Map { value }),
            [inner.clone(), inner.clone()]
                .prop_map(|pair| Shape::Pairs { pair: Box::new(Shape::Tuple(Vec::from(pair))) }),
            vec(inner.clone(), 1..20).prop_map(|shapes| Shape::Record(fields(shapes))),
            vec(inner.clone(), 1..4).prop_map(Shape::Tuple),
            vec(proptest::option::of(inner.clone()), 1..20)
                .prop_map(|shapes| Shape::Variant(Cases { names: names(shapes.len()), shapes })),
            boxed.clone().prop_map(|some| Shape::Option { some }),
            [proptest::option::of(boxed.clone()), proptest::option::of(boxed)]
                .prop_map(|[ok, err]| Shape::Result { ok, err }),
        ]
    })
}

fn names(count: usize) -> Names {
    let names: Vec<String> = (0..count).map(|n| format!("name-{n}")).collect();
    Names::of(names.iter().map(String::as_str))
}

fn fields(shapes: Vec<Shape>) -> Fields {
    Fields { names: names(shapes.len()), shapes }
}

/// Values of a type as JSON text, in the form that a result has.
fn values(shape: &Shape) -> BoxedStrategy<String> {
    let text = |value: String| serde_json::to_string(&value).unwrap();
    match shape {
        Shape::Bool => any::<bool>().prop_map(|value| value.to_string()).boxed(),
        Shape::Int(int) => {
            let (least, greatest) = int.range();
            prop_oneof![Just(least), Just(greatest), least.max(-200)..greatest.min(200), least..=greatest]
                .prop_map(|number| match number.unsigned_abs() > 1 << 53 {
                    true => format!("\"{number}\""),
                    false => number.to_string(),
                })
                .boxed()
        }
        Shape::F32 => {
            use proptest::num::f32::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
            let any = POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE;
            any.prop_map(|float| float_text(float.into(), serde_json::to_string(&float).unwrap())).boxed()
        }
        Shape::F64 => {
            use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
            let any = POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE;
            any.prop_map(|float| float_text(float, serde_json::to_string(&float).unwrap())).boxed()
        }
        Shape::Char => any::<char>().prop_map(move |character| text(character.to_string())).boxed(),
        Shape::String => any::<String>().prop_map(text).boxed(),
        Shape::Bytes { length } => vec(any::<u8>(), length.map_or(0..9, |length| length..length + 1))
            .prop_map(|bytes| format!("\"{}\"", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)))
            .boxed(),
        Shape::List { element, length } => {
            vec(values(element), length.map_or(0..5, |length| length..length + 1)).prop_map(array).boxed()
        }
        Shape::Pairs { pair } => vec(values(pair), 0..4).prop_map(array).boxed(),
        Shape::Map { value } => proptest::collection::btree_map(any::<String>(), values(value), 0..4)
            .prop_map(move |entries| object(entries.into_iter().map(|(key, value)| (text(key), value))))
            .boxed(),
        Shape::Record(fields) => {
            let keys: Vec<String> = fields.names.iter().map(|name| format!("\"{name}\"")).collect();
            let values: Vec<_> = fields.shapes.iter().map(values).collect();
            values.prop_map(move |values| object(keys.iter().cloned().zip(values))).boxed()
        }
        Shape::Tuple(shapes) => shapes.iter().map(values).collect::<Vec<_>>().prop_map(array).boxed(),
        Shape::Variant(cases) => {
            let cases = cases.names.iter().zip(&cases.shapes).map(|(name, shape)| {
                let name = format!("\"{name}\"");
                match shape {
                    None => Just(name).boxed(),
                    Some(shape) => values(shape).prop_map(move |value| format!("{{{name}:{value}}}")).boxed(),
                }
            });
            proptest::strategy::Union::new(cases).boxed()
        }
        Shape::Enum(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            proptest::sample::select(names).boxed()
        }
        Shape::Flags(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            let count = names.len();
            proptest::sample::subsequence(names, 0..=count).prop_map(array).boxed()
        }
        Shape::Option { some } if some.takes_null() => {
            let some = values(some).prop_map(|value| format!("{{\"some\":{value}}}"));
            prop_oneof![Just("null".to_owned()), some].boxed()
        }
        Shape::Option { some } => prop_oneof![Just("null".to_owned()), values(some)].boxed(),
        Shape::Result { ok, err } => {
            let inside = |shape: &Option<Box<Shape>>| match shape {
                Some(shape) => values(shape),
                None => Just("null".to_owned()).boxed(),
            };
            let ok = inside(ok).prop_map(|value| format!("{{\"ok\":{value}}}"));
            prop_oneof![ok, inside(err).prop_map(|value| format!("{{\"err\":{value}}}"))].boxed()
        }
    }
}

fn float_text(float: f64, finite: String) -> String {
    match float {
        f64::INFINITY => "\"Infinity\"".to_owned(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
        _ => finite,
    }
}

fn array(items: Vec<String>) -> String {
    format!("[{}]", items.join(","))
}

fn object(entries: impl Iterator<Item = (String, String)>) -> String {
    let entries: Vec<String> = entries.map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", entries.join(","))
}

/// `func(x: T) -> tuple<T>`; a tuple, because a result would be taken as the outcome.
fn echo(shape: &Shape) -> Signature {
    let parameters = Fields { names: Names::of(["x"].into_iter()), shapes: vec![shape.clone()] };
    Signature { parameters, result: Some(Shape::Tuple(vec![shape.clone()])) }
}

fn accepts(schema: &crate::model::Json, json: &str) -> bool {
    tradewind_json_schema::Schema::compile(&schema.to_value().unwrap())
        .unwrap()
        .is_valid(&serde_json::from_str(json).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_goes_in_comes_out((shape, json) in shapes().prop_flat_map(|shape| (Just(shape.clone()), values(&shape)))) {
        let signature = echo(&shape);
        let input = format!("{{\"x\":{json}}}");
        prop_assert_eq!(signature.check(&input), Ok(()));
        let [value] = <[Val; 1]>::try_from(signature.lower(&input).unwrap()).unwrap();
        match signature.lift(&[Val::Tuple(vec![value])], 1 << 20).unwrap() {
            Returned::Value(back) => prop_assert_eq!(back.as_str(), format!("[{json}]")),
            other => panic!("{other:?}"),
        }
        prop_assert!(accepts(&signature.input_schema(), &input), "{}", signature.input_schema().as_str());
        let output = format!("[{json}]");
        prop_assert!(accepts(&signature.output_schema(), &output), "{}", signature.output_schema().as_str());
    }

    #[test]
    fn a_value_of_another_type_is_taken_only_if_the_schema_takes_it(
        shape in shapes(),
        json in shapes().prop_flat_map(|other| values(&other)),
    ) {
        let signature = echo(&shape);
        let input = format!("{{\"x\":{json}}}");
        let checked = signature.check(&input);
        prop_assert_eq!(signature.lower(&input).map(drop), checked.clone());
        if checked.is_ok() {
            prop_assert!(accepts(&signature.input_schema(), &input), "{}", signature.input_schema().as_str());
        }
    }

    #[test]
    fn any_text_at_all_is_answered(shape in shapes(), text in "\\PC*|[\\[\\]{}\",:0-9.eE+\\-xntrufalse \\\\]*") {
        let signature = echo(&shape);
        prop_assert_eq!(signature.lower(&text).map(drop), signature.check(&text));
    }
}
