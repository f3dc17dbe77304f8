//! `#[derive(Module)]`: a struct or enum is a module if its fields are.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Index, parse_macro_input, parse_quote};

/// Implements `Module`: every field is visited in the order of declaration, under its name (or its
/// index, in a tuple struct), which gives parameters the paths that PyTorch would give them.
///
/// `#[module(skip)]` leaves a field out; plain numbers, strings and bools need no mark. The
/// variants of an enum are visited by their fields, without a name of their own.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> syn::Result<Tokens> {
    let module: Tokens = quote!(::kiln::nn);
    let (visit, visit_mut) = match &input.data {
        Data::Struct(data) => {
            let fields = visited(&data.fields)?;
            let each = |method: &str| {
                let method = format_ident!("{method}");
                let borrow = if method == "visit" { quote!(&) } else { quote!(&mut) };
                let calls = fields.iter().map(|(index, name)| {
                    let member = match &data.fields.iter().nth(*index).expect("a field").ident {
                        Some(ident) => quote!(#ident),
                        None => {
                            let index = Index::from(*index);
                            quote!(#index)
                        }
                    };
                    quote!(#module::Module::#method(#borrow self.#member, &path.child(#name), visitor);)
                });
                quote!(#(#calls)*)
            };
            (each("visit"), each("visit_mut"))
        }
        Data::Enum(data) => {
            let each = |method: &str| -> syn::Result<Tokens> {
                let method = format_ident!("{method}");
                let arms = data.variants.iter().map(|variant| {
                    let fields = visited(&variant.fields)?;
                    let name = &variant.ident;
                    let bindings = fields.iter().map(|(index, _)| {
                        let binding = format_ident!("field_{index}");
                        match &variant.fields.iter().nth(*index).expect("a field").ident {
                            Some(ident) => quote!(#ident: #binding),
                            None => {
                                let index = Index::from(*index);
                                quote!(#index: #binding)
                            }
                        }
                    });
                    let calls = fields.iter().map(|(index, field)| {
                        let binding = format_ident!("field_{index}");
                        quote!(#module::Module::#method(#binding, &path.child(#field), visitor);)
                    });
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
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#module::Module));
    }
    let name = &input.ident;
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        #[allow(unused_variables)]
        impl #generics #module::Module for #name #arguments #conditions {
            fn visit(&self, path: &#module::Path<'_>, visitor: &mut dyn #module::Visitor) {
                #visit
            }
            fn visit_mut(&mut self, path: &#module::Path<'_>, visitor: &mut dyn #module::VisitorMut) {
                #visit_mut
            }
        }
    })
}

/// The index and the name of each field that is not skipped.
fn visited(fields: &Fields) -> syn::Result<Vec<(usize, String)>> {
    let mut visited = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let mut skip = false;
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("module"))
        {
            attribute.parse_nested_meta(|meta| {
                skip |= meta.path.is_ident("skip");
                if skip { Ok(()) } else { Err(meta.error("expected `skip`")) }
            })?;
        }
        if !skip {
            let name = field.ident.as_ref().map_or(index.to_string(), |ident| {
                // A raw identifier like `r#type` is the path `type`.
                ident.to_string().trim_start_matches("r#").to_string()
            });
            visited.push((index, name));
        }
    }
    Ok(visited)
}
