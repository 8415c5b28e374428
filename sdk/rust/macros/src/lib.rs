//! The attributes of the Tradewind SDK; see the crate `tradewind-sdk`.

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, ItemFn, parse_macro_input};

mod task;

/// Makes a function a task.
///
/// ```
/// # use tradewind_sdk::{Context, Error, task};
/// /// How many words a text has.
/// #[task]
/// fn count_words(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// /// Reads the report of a day.
/// #[task(name = "read-report")]
/// fn read(context: &Context, path: String) -> Result<String, Error> {
///     let day = context.logical_date().ok_or_else(|| Error::skip("no day to report on"))?;
///     Ok(format!("{path}/{day}"))
/// }
/// ```
///
/// - The **name** is the function's, or the one given by `name = "…"`.
/// - The **input** is its one argument, any type with `Deserialize` and `JsonSchema`; without it the task takes `null`,
///   `{}` or nothing. An input that does not fit fails the task, and is not tried again.
/// - A **context** is given to an argument of type `Context` or `&Context`, before or after the input.
/// - The **output** is what it returns, any type with `Serialize` and `JsonSchema`, or a `Result` of one. A type is
///   taken for a `Result` when its name ends so. The error is `tradewind_sdk::Error`, any standard error, a box of one,
///   `anyhow::Error`, or text.
/// - The **docs** are its doc comment, Markdown.
///
/// The function itself stays as it is. A crate may have any number of tasks, in any module.
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as task::Arguments);
    let function = parse_macro_input!(item as ItemFn);
    match task::expand(&arguments, &function) {
        Ok(registration) => quote! { #function #registration }.into(),
        Err(error) => {
            // The function is kept, so that the only error shown is the one about it.
            let error = error.into_compile_error();
            quote! { #function #error }.into()
        }
    }
}

/// Makes a struct or an enum an input or output of tasks.
///
/// Short for deriving `Serialize`, `Deserialize` and `JsonSchema` from the SDK's own serde and schemars, so that neither
/// is needed in `Cargo.toml`. Attributes of both work as usual; stand them below this one.
///
/// ```
/// # use tradewind_sdk::data;
/// #[data]
/// #[derive(Debug, PartialEq)]
/// #[serde(deny_unknown_fields)]
/// struct Years {
///     from: u16,
///     /// The last year, included; the newest when not given.
///     #[serde(default)]
///     to: Option<u16>,
/// }
/// ```
#[proc_macro_attribute]
pub fn data(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let _ = parse_macro_input!(arguments as syn::parse::Nothing);
    let item = parse_macro_input!(item as DeriveInput);
    quote! {
        #[derive(::tradewind_sdk::Serialize, ::tradewind_sdk::Deserialize, ::tradewind_sdk::JsonSchema)]
        #[serde(crate = "::tradewind_sdk::serde")]
        #[schemars(crate = "::tradewind_sdk::schemars")]
        #item
    }
    .into()
}
