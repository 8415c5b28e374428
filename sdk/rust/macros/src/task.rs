//! What `#[task]` adds to a function: its entry on the module's list of tasks.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, LitStr, Meta, ReturnType, Token, Type};

/// `#[task]` or `#[task(name = "…")]`.
pub(crate) struct Arguments {
    name: Option<LitStr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut name = None;
        while !input.is_empty() {
            let key = input.call(syn::Ident::parse_any)?;
            if key != "name" || name.is_some() {
                return Err(Error::new(key.span(), "the one argument of #[task] is name = \"…\""));
            }
            input.parse::<Token![=]>()?;
            let text: LitStr = input.parse()?;
            if text.value().trim().is_empty() {
                return Err(Error::new(text.span(), "a task's name is not empty"));
            }
            name = Some(text);
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self { name })
    }
}

pub(crate) fn expand(arguments: &Arguments, function: &ItemFn) -> syn::Result<TokenStream> {
    let signature = &function.sig;
    refuse_what_cannot_be_called(function)?;

    let function_name = &signature.ident;
    let name = match &arguments.name {
        Some(name) => name.value(),
        None => function_name.unraw().to_string(),
    };
    let docs = docs(&function.attrs);
    let private = quote!(::tradewind_sdk::__private);
    // Variables of the macro's own, which do not hide a task function of the same name.
    let [context, input, output] = ["context", "input", "output"].map(|name| Ident::new(name, Span::mixed_site()));

    let parameters = signature.inputs.iter().map(parameter).collect::<syn::Result<Vec<_>>>()?;
    let mut input_types = parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Input(ty) => Some(*ty),
        Parameter::Context { .. } => None,
    });
    let input_type = input_types.next();
    if let Some(second) = input_types.next() {
        return Err(Error::new(second.span(), "a task has one input; put several values into one #[data] struct"));
    }
    let (read_input, input_schema) = match input_type {
        Some(ty) => (
            quote_spanned!(ty.span()=> let #input: #ty = #private::input::<#ty>(#name, #input)?;),
            quote_spanned!(ty.span()=> #private::input_schema::<#ty>),
        ),
        None => (quote!(#private::no_input(#name, #input)?;), quote!(#private::no_input_schema)),
    };
    let values = parameters.iter().map(|parameter| match parameter {
        Parameter::Input(_) => quote!(#input),
        Parameter::Context { by_reference: true } => quote!(#context),
        Parameter::Context { by_reference: false } => quote!(::core::clone::Clone::clone(#context)),
    });

    let unit: Type = syn::parse_quote!(());
    let returned = match &signature.output {
        ReturnType::Default => &unit,
        ReturnType::Type(_, ty) => ty,
    };
    let (unwrapped, output_type) = if is_result(returned) {
        (
            quote_spanned!(returned.span()=> #private::Fallible::into_result(#output)?),
            quote_spanned!(returned.span()=> <#returned as #private::Fallible>::Output),
        )
    } else {
        (quote!(#output), quote!(#returned))
    };
    let write_output = quote_spanned!(returned.span()=> #private::output::<#output_type>(#name, &#output));
    let output_schema = quote_spanned!(returned.span()=> #private::output_schema::<#output_type>);

    Ok(quote! {
        #private::inventory::submit! {
            #private::Task {
                name: #name,
                docs: #docs,
                input_schema: #input_schema,
                output_schema: #output_schema,
                call: |#context: &::tradewind_sdk::Context, #input: &str| {
                    let _ = #context;
                    #read_input
                    #[allow(clippy::let_unit_value, reason = "a task may have no output")]
                    let #output: #returned = #function_name(#(#values),*);
                    #[allow(clippy::let_unit_value, reason = "a task may have no output")]
                    let #output: #output_type = #unwrapped;
                    #write_output
                },
            }
        }
    })
}

enum Parameter<'a> {
    Input(&'a Type),
    Context { by_reference: bool },
}

fn parameter(argument: &FnArg) -> syn::Result<Parameter<'_>> {
    let ty = match argument {
        FnArg::Typed(argument) => &*argument.ty,
        FnArg::Receiver(receiver) => return Err(Error::new(receiver.span(), "a task is a function without `self`")),
    };
    match ty {
        Type::Reference(reference) if last_name(&reference.elem).is_some_and(|name| name == "Context") => {
            Ok(Parameter::Context { by_reference: true })
        }
        Type::Reference(reference) => {
            Err(Error::new(reference.span(), "a task owns its input; take it by value, `String` for `&str`"))
        }
        ty if last_name(ty).is_some_and(|name| name == "Context") => Ok(Parameter::Context { by_reference: false }),
        ty => Ok(Parameter::Input(ty)),
    }
}

/// By its name, as the macro cannot see the type: `Result<…>`, `io::Result<…>`, `ReportResult`.
fn is_result(ty: &Type) -> bool {
    last_name(ty).is_some_and(|name| name.ends_with("Result"))
}

fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Group(group) => last_name(&group.elem),
        Type::Paren(paren) => last_name(&paren.elem),
        _ => None,
    }
}

fn refuse_what_cannot_be_called(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if let Some(asyncness) = signature.asyncness {
        return Err(Error::new(asyncness.span(), "a task is a plain function; block on the future inside it"));
    }
    if let Some(unsafety) = signature.unsafety {
        return Err(Error::new(unsafety.span(), "a task is a safe function"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "a task is not generic: its schemas are fixed at upload"));
    }
    Ok(())
}

/// The doc comment as one constant text. A line may be an expression, as in `#[doc = include_str!("task.md")]`.
fn docs(attributes: &[Attribute]) -> TokenStream {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => Some(&meta.value),
        _ => None,
    });
    let parts = lines.enumerate().map(|(at, value)| {
        let newline = if at == 0 { "" } else { "\n" };
        match value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => {
                let line = line.value();
                // rustc keeps the space after `///`.
                let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
                quote!(#newline, #line)
            }
            value => quote!(#newline, #value),
        }
    });
    quote!(::core::concat!(#(#parts),*))
}
