//! `#[derive(Module)]`: a struct or enum is a module if its fields are. `#[derive(Config)]`: settings
//! with defaults, that files can hold.

mod config;

use proc_macro::TokenStream;
use proc_macro2::{Ident, Span, TokenStream as Tokens};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Fields, Index, LitStr, Member, Token, parse_macro_input, parse_quote,
};

/// Implements `Module`: every field is visited in the order of declaration, under its name (or its
/// index, in a tuple struct), which gives parameters the paths that PyTorch would give them.
///
/// `#[module(skip)]` leaves a field out; plain numbers, strings and bools need no mark. The
/// variants of an enum are visited by their fields, without a name of their own.
///
/// `#[module(name = "self")]` gives a field another name in paths, for what is no name in Rust.
///
/// `#[module(tied("lm_head.weight", to = "wte.weight"))]` on a struct gives a parameter a second
/// name in files, unless there is a parameter of that name.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

/// Makes a struct of settings a `Config`: `new` takes those without a default, `with_*` changes the
/// others; it is cloned, printed, written to a file and read from one.
///
/// `#[config(default = value)]` gives a field its default; that of an `Option` is `None`. With
/// `#[config(into)]` a field can be set by all that can be made into its type. An enum of configs or
/// numbers is a config too.
#[proc_macro_derive(Config, attributes(config))]
pub fn derive_config(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    config::expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> syn::Result<Tokens> {
    // The call carries the place of the field, so that the error for a field that is no module
    // points at it.
    let call = |method: &str, field: &Visited, place: Tokens| {
        let (method, name) = (Ident::new(method, field.span), &field.name);
        quote_spanned!(field.span=>
            ::kiln::nn::Module::#method(#place, &path.child(#name), visitor);
        )
    };
    let (visit, visit_mut) = match &input.data {
        Data::Struct(data) => {
            let fields = visited(&data.fields)?;
            let each = |method: &str| {
                let calls = fields.iter().map(|field| {
                    let member = &field.member;
                    let place = match method {
                        "visit" => quote_spanned!(field.span=> &self.#member),
                        _ => quote_spanned!(field.span=> &mut self.#member),
                    };
                    call(method, field, place)
                });
                quote!(#(#calls)*)
            };
            let tied = ties(&input)?;
            let shown = |method: &str| -> syn::Result<Tokens> {
                let ties = tied.iter().map(|tie| tie.show(method, &fields));
                let (ties, fields) = (ties.collect::<syn::Result<Vec<_>>>()?, each(method));
                Ok(quote!(#fields #(#ties)*))
            };
            (shown("visit")?, shown("visit_mut")?)
        }
        Data::Enum(data) => {
            if let Some(tie) = ties(&input)?.first() {
                return Err(Error::new(tie.name.span(), "only fields of a struct can be tied"));
            }
            let each = |method: &str| -> syn::Result<Tokens> {
                let arms = data.variants.iter().map(|variant| {
                    let (name, fields) = (&variant.ident, visited(&variant.fields)?);
                    let named = fields
                        .iter()
                        .enumerate()
                        .map(|(i, field)| (field, format_ident!("field_{i}", span = field.span)));
                    let bindings = named.clone().map(|(field, binding)| {
                        let member = &field.member;
                        quote!(#member: #binding)
                    });
                    let calls = named.map(|(field, binding)| call(method, field, quote!(#binding)));
                    Ok(quote!(Self::#name { #(#bindings,)* .. } => { #(#calls)* }))
                });
                let arms = arms.collect::<syn::Result<Vec<_>>>()?;
                Ok(quote!(match self { #(#arms)* }))
            };
            (each("visit")?, each("visit_mut")?)
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "a union can not be a module"));
        }
    };
    let module = quote!(::kiln::nn);
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#module::Module));
        parameter.bounds.push(parse_quote!('static));
    }
    // What borrows is of no type that could be asked for.
    let shown = input.generics.lifetimes().next().is_none();
    let show = shown.then(|| quote!(#module::VisitorMut::module(&mut *visitor, path, self);));
    let name = &input.ident;
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        #[allow(unused_variables)]
        impl #generics #module::Module for #name #arguments #conditions {
            fn visit(&self, path: &#module::Path<'_>, visitor: &mut dyn #module::Visitor) {
                #module::Visitor::enter_module(&mut *visitor, path, stringify!(#name));
                #visit
                #module::Visitor::exit_module(&mut *visitor, path, stringify!(#name));
            }
            fn visit_mut(&mut self, path: &#module::Path<'_>, visitor: &mut dyn #module::VisitorMut) {
                #visit_mut
                #show
            }
        }
    })
}

/// A second name of a parameter.
struct Tie {
    name: LitStr,
    owner: LitStr,
}

/// What `#[module(tied(..))]` on a struct says.
fn ties(input: &DeriveInput) -> syn::Result<Vec<Tie>> {
    let mut ties = Vec::new();
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("tied") {
                return Err(meta.error("expected `tied(\"name\", to = \"path\")`"));
            }
            let parts;
            syn::parenthesized!(parts in meta.input);
            let name = parts.parse()?;
            parts.parse::<Token![,]>()?;
            let to: Ident = parts.parse()?;
            if to != "to" {
                return Err(Error::new(to.span(), "expected `to = \"path\"`"));
            }
            parts.parse::<Token![=]>()?;
            ties.push(Tie { name, owner: parts.parse()? });
            Ok(())
        })?;
    }
    Ok(ties)
}

impl Tie {
    /// Shows the parameter under its second name, looking for both names in the fields that they
    /// start with.
    fn show(&self, method: &str, fields: &[Visited]) -> syn::Result<Tokens> {
        let Self { name, owner } = self;
        let starts =
            |path: &LitStr, field: &Visited| path.value().split('.').next() == Some(&field.name);
        if !fields.iter().any(|field| starts(owner, field)) {
            return Err(Error::new(owner.span(), "no field that the path could start with"));
        }
        let module = quote!(::kiln::nn);
        let call = Ident::new(method, Span::call_site());
        let (place, function, closure) = match method {
            "visit" => {
                (quote!(&self), quote!(visit_tied), quote!(&|visitor: &mut dyn #module::Visitor|))
            }
            _ => (
                quote!(&mut self),
                quote!(visit_tied_mut),
                quote!(&mut |visitor: &mut dyn #module::VisitorMut|),
            ),
        };
        let walks = fields.iter().filter(|field| starts(owner, field) || starts(name, field)).map(
            |Visited { member, name, .. }| {
                quote!(#module::Module::#call(#place.#member, &path.child(#name), visitor);)
            },
        );
        Ok(quote! {
            #module::#function(path, [#name, #owner], &mut *visitor, #closure { #(#walks)* });
        })
    }
}

/// A field that is not skipped.
struct Visited {
    member: Member,
    /// Its part of the path.
    name: String,
    span: Span,
}

fn visited(fields: &Fields) -> syn::Result<Vec<Visited>> {
    let mut visited = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (mut skip, mut renamed) = (false, None);
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("module"))
        {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    skip = true;
                } else if meta.path.is_ident("name") {
                    let name: LitStr = meta.value()?.parse()?;
                    if name.value().is_empty() || name.value().contains('.') {
                        return Err(Error::new(name.span(), "expected a name without dots"));
                    }
                    renamed = Some(name.value());
                } else {
                    return Err(meta.error("expected `skip` or `name = \"..\"`"));
                }
                Ok(())
            })?;
        }
        if skip {
            continue;
        }
        // Names inside of the call are still looked up as those of this macro.
        let span = |place: Span| place.resolved_at(Span::call_site());
        visited.push(match &field.ident {
            Some(ident) => {
                let span = span(ident.span());
                let mut member = ident.clone();
                member.set_span(span);
                // A raw identifier like `r#type` is the path `type`.
                let name = renamed.unwrap_or_else(|| ident.unraw().to_string());
                Visited { member: member.into(), name, span }
            }
            None => {
                let span = span(field.ty.span());
                let member = Index { index: index as u32, span }.into();
                Visited { member, name: renamed.unwrap_or_else(|| index.to_string()), span }
            }
        });
    }
    Ok(visited)
}
