//! `#[derive(Config)]`: the settings that something is made of.

use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, Lit, Type};

pub fn expand(input: &DeriveInput) -> syn::Result<Tokens> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a config can not be generic"));
    }
    let own = match &input.data {
        Data::Struct(data) => {
            let Fields::Named(fields) = &data.fields else {
                return Err(Error::new_spanned(&input.ident, "a config needs named fields"));
            };
            let settings = fields.named.iter().map(Setting::of).collect::<syn::Result<Vec<_>>>()?;
            structure(input, &settings)
        }
        Data::Enum(data) => enumeration(input, data),
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "a union can not be a config"));
        }
    };
    let name = &input.ident;
    Ok(quote! {
        #own
        impl ::kiln::nn::Config for #name {}
        impl ::core::fmt::Display for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(&::kiln::nn::Config::to_text(self))
            }
        }
    })
}

/// A field of a struct.
struct Setting<'a> {
    name: &'a Ident,
    kind: &'a Type,
    docs: Vec<&'a Attribute>,
    /// None for what `new` asks for.
    default: Option<Tokens>,
    /// Whether `new` or the setter takes all that can be made into the type.
    into: bool,
}

impl<'a> Setting<'a> {
    fn of(field: &'a Field) -> syn::Result<Self> {
        let mut default = is_option(&field.ty).then(|| quote!(::core::option::Option::None));
        let mut into = false;
        for attribute in field.attrs.iter().filter(|found| found.path().is_ident("config")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("into") {
                    into = true;
                    return Ok(());
                }
                if !meta.path.is_ident("default") {
                    return Err(meta.error("expected `default = value` or `into`"));
                }
                default = Some(expression(&field.ty, meta.value()?.parse()?)?);
                Ok(())
            })?;
        }
        let docs = field.attrs.iter().filter(|found| found.path().is_ident("doc")).collect();
        let name = field.ident.as_ref().expect("a named field");
        Ok(Self { name, kind: &field.ty, docs, default, into })
    }

    /// The type of the argument that sets it.
    fn argument(&self) -> Tokens {
        let kind = self.kind;
        if self.into { quote!(impl ::core::convert::Into<#kind>) } else { quote!(#kind) }
    }

    /// The value of the argument that sets it.
    fn given(&self) -> Tokens {
        let name = self.name;
        if self.into { quote!(::core::convert::Into::into(#name)) } else { quote!(#name) }
    }
}

fn last_segment(kind: &Type) -> Option<&Ident> {
    let Type::Path(path) = kind else { return None };
    path.path.segments.last().map(|segment| &segment.ident)
}

fn is_option(kind: &Type) -> bool {
    last_segment(kind).is_some_and(|name| name == "Option")
}

/// The value of a default: an expression, or one in quotes, as Burn writes those that are no
/// literals.
fn expression(kind: &Type, value: Expr) -> syn::Result<Tokens> {
    let Expr::Lit(literal) = &value else { return Ok(quote!(#value)) };
    let Lit::Str(text) = &literal.lit else { return Ok(quote!(#value)) };
    if last_segment(kind).is_some_and(|name| name == "String") {
        return Ok(quote!(::std::string::String::from(#text)));
    }
    let value: Expr = text.parse()?;
    Ok(quote!(#value))
}

fn structure(input: &DeriveInput, settings: &[Setting<'_>]) -> Tokens {
    let name = &input.ident;
    let visibility = &input.vis;
    let names = settings.iter().map(|setting| setting.name).collect::<Vec<_>>();
    let kinds = settings.iter().map(|setting| setting.kind);

    let required = settings.iter().filter(|setting| setting.default.is_none());
    let arguments = required.map(|setting| {
        let (name, argument) = (setting.name, setting.argument());
        quote!(#name: #argument)
    });
    let values = settings.iter().map(|setting| {
        let name = setting.name;
        let value = setting.default.clone().unwrap_or_else(|| setting.given());
        quote!(#name: #value)
    });
    let new_doc = match names.len() {
        0 => "There is nothing to set.",
        _ => "With the default of every setting that is not given.",
    };
    let setters = settings.iter().filter(|setting| setting.default.is_some()).map(|setting| {
        let Setting { name, docs, .. } = setting;
        let (argument, given) = (setting.argument(), setting.given());
        let with = format_ident!("with_{}", name.unraw());
        quote! {
            #(#docs)*
            #visibility fn #with(mut self, #name: #argument) -> Self {
                self.#name = #given;
                self
            }
        }
    });
    // What serde writes and reads: the same fields; a default stands in for one that a file from
    // before it existed lacks.
    let defaults = settings.iter().filter_map(|Setting { name, kind, default, .. }| {
        let function = format_ident!("default_{}", name.unraw());
        default.as_ref().map(|default| quote!(fn #function() -> #kind { #default }))
    });
    let read = settings.iter().map(|Setting { name, kind, default, .. }| {
        let function = format!("default_{}", name.unraw());
        let default = default.as_ref().map(|_| quote!(#[serde(default = #function)]));
        quote!(#default #name: #kind)
    });
    let (label, unknown) = (name.unraw().to_string(), quote!(deny_unknown_fields));
    quote! {
        #[allow(clippy::too_many_arguments, clippy::new_without_default)]
        impl #name {
            #[doc = #new_doc]
            #visibility fn new(#(#arguments),*) -> Self {
                Self { #(#values),* }
            }
            #(#setters)*
        }
        impl ::core::clone::Clone for #name {
            fn clone(&self) -> Self {
                Self { #(#names: ::core::clone::Clone::clone(&self.#names)),* }
            }
        }
        const _: () = {
            use ::kiln::nn::config::serde;
            #(#defaults)*
            #[derive(serde::Serialize)]
            #[serde(crate = "serde", rename = #label)]
            struct Written<'a> {
                #[serde(skip)]
                lifetime: ::core::marker::PhantomData<&'a ()>,
                #(#names: &'a #kinds),*
            }
            #[derive(serde::Deserialize)]
            #[serde(crate = "serde", rename = #label, #unknown)]
            struct Read { #(#read),* }
            impl serde::Serialize for #name {
                fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    let lifetime = ::core::marker::PhantomData;
                    Written { lifetime, #(#names: &self.#names),* }.serialize(to)
                }
            }
            impl<'de> serde::Deserialize<'de> for #name {
                fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    let Read { #(#names),* } = Read::deserialize(from)?;
                    Ok(Self { #(#names),* })
                }
            }
        };
    }
}

fn enumeration(input: &DeriveInput, data: &syn::DataEnum) -> Tokens {
    let name = &input.ident;
    let label = name.unraw().to_string();
    // How one variant is taken apart by reference, and how it is declared, read and written.
    let parts = data.variants.iter().map(|variant| {
        let kinds = variant.fields.iter().map(|field| &field.ty).collect::<Vec<_>>();
        let places = (0..kinds.len()).map(|i| format_ident!("field_{i}")).collect::<Vec<_>>();
        let named = variant.fields.iter().filter_map(|field| field.ident.as_ref());
        let named = named.collect::<Vec<_>>();
        let name = &variant.ident;
        let (written, read, pattern) = match &variant.fields {
            Fields::Named(_) => (
                quote!(#name { #(#named: &'a #kinds),* }),
                quote!(#name { #(#named: #kinds),* }),
                quote!(#name { #(#named: #places),* }),
            ),
            Fields::Unnamed(_) => (
                quote!(#name(#(&'a #kinds),*)),
                quote!(#name(#(#kinds),*)),
                quote!(#name(#(#places),*)),
            ),
            Fields::Unit => (quote!(#name), quote!(#name), quote!(#name)),
        };
        (written, read, pattern, places)
    });
    let parts = parts.collect::<Vec<_>>();
    let written = parts.iter().map(|part| &part.0);
    let read = parts.iter().map(|part| &part.1);
    let patterns = parts.iter().map(|part| &part.2).collect::<Vec<_>>();
    let clones = parts.iter().map(|(.., pattern, places)| {
        quote!(Self::#pattern => { #(let #places = ::core::clone::Clone::clone(#places);)* Self::#pattern })
    });
    quote! {
        impl ::core::clone::Clone for #name {
            fn clone(&self) -> Self {
                match self { #(#clones)* }
            }
        }
        const _: () = {
            use ::kiln::nn::config::serde;
            #[derive(serde::Serialize)]
            #[serde(crate = "serde", rename = #label)]
            enum Written<'a> {
                #[serde(skip)]
                #[allow(dead_code)]
                Lifetime(::core::marker::PhantomData<&'a ()>),
                #(#written),*
            }
            #[derive(serde::Deserialize)]
            #[serde(crate = "serde", rename = #label)]
            enum Read { #(#read),* }
            impl serde::Serialize for #name {
                fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    match self { #(Self::#patterns => Written::#patterns),* }.serialize(to)
                }
            }
            impl<'de> serde::Deserialize<'de> for #name {
                fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    Ok(match Read::deserialize(from)? { #(Read::#patterns => Self::#patterns),* })
                }
            }
        };
    }
}
