//! The functions and types of Python that stand in pickles of tensors, and what they mean.

use kiln_tensor::{DType, MAX_RANK, Shape};

use super::pickle::{Item, Machine, Object, Result};

/// The bytes of one or more tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    /// The type of its elements; bytes without one.
    pub(super) dtype: Option<DType>,
    /// Its name in the archive.
    pub(super) key: &'a str,
    /// The number of its elements.
    pub(super) len: u64,
}

/// A tensor as a window on a storage. Nothing of it has been compared with the storage.
#[derive(Clone, Debug)]
pub(super) struct TensorRef<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) dtype: DType,
    /// In elements, as the strides.
    pub(super) offset: u64,
    pub(super) shape: Shape,
    pub(super) strides: Vec<u64>,
}

/// A function or type of Python whose meaning is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    Dict,
    Counter,
    Set,
    Size,
    Device,
    Encode,
    TensorType,
    DType(DType),
    Storage(Option<DType>),
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildFromType,
}

/// Types of storages, and dtypes, by their names in `torch`.
const DTYPES: [(&str, &str, DType); 12] = [
    ("DoubleStorage", "float64", DType::F64),
    ("FloatStorage", "float32", DType::F32),
    ("HalfStorage", "float16", DType::F16),
    ("BFloat16Storage", "bfloat16", DType::BF16),
    ("LongStorage", "int64", DType::I64),
    ("IntStorage", "int32", DType::I32),
    ("ShortStorage", "int16", DType::I16),
    ("CharStorage", "int8", DType::I8),
    ("ByteStorage", "uint8", DType::U8),
    ("BoolStorage", "bool", DType::Bool),
    ("ComplexFloatStorage", "complex64", DType::Complex64),
    ("ComplexDoubleStorage", "complex128", DType::Complex128),
];

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::Dict,
            ("collections", "Counter") => Global::Counter,
            ("builtins" | "__builtin__", "set") => Global::Set,
            ("_codecs", "encode") => Global::Encode,
            ("torch", "Size") => Global::Size,
            ("torch", "device") => Global::Device,
            ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Global::TensorType,
            ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
            ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Global::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
            ("torch.storage", "UntypedStorage") => Global::Storage(None),
            ("torch", "uint16") => Global::DType(DType::U16),
            ("torch", "uint32") => Global::DType(DType::U32),
            ("torch", "uint64") => Global::DType(DType::U64),
            ("torch", name) => {
                let known = DTYPES.iter().find(|known| known.0 == name || known.1 == name)?;
                let (storage, _, dtype) = *known;
                if storage == name { Global::Storage(Some(dtype)) } else { Global::DType(dtype) }
            }
            _ => return None,
        })
    }
}

impl<'a> Machine<'a> {
    /// What a function makes of its arguments.
    pub(super) fn call(&mut self, function: Item, arguments: Item) -> Result<()> {
        let function = self.global_of(function)?;
        let arguments = self.tuple_of(arguments)?;
        let wrong = || format!("wrong arguments for {function:?}");
        let first = arguments.first().copied();
        match function {
            Global::Device | Global::Encode => self.push(Item::Opaque),
            // The argument is a collection that has the values already, if there is one.
            Global::Dict | Global::Counter | Global::Set | Global::Size => {
                let Some(values) = first else {
                    return self.push_object(match function {
                        Global::Set => Object::List(Vec::new()),
                        Global::Size => Object::Tuple(Vec::new()),
                        _ => Object::Dict(Vec::new()),
                    });
                };
                match (function, self.object(values)) {
                    (Global::Dict | Global::Counter, Some(Object::Dict(_)))
                    | (Global::Set, Some(Object::List(_)))
                    | (Global::Size, Some(Object::Tuple(_) | Object::List(_))) => self.push(values),
                    _ => Err(wrong()),
                }
            }
            Global::RebuildParameter => {
                let data =
                    first.filter(|&data| matches!(self.object(data), Some(Object::Tensor(_))));
                self.push(data.ok_or_else(wrong)?)
            }
            // (function, type, arguments, attributes) of a tensor with attributes of its own.
            Global::RebuildFromType => {
                let &[function, _, arguments, _] = arguments else { return Err(wrong()) };
                match self.global_of(function)? {
                    // Once: else a pickle could nest them until the stack of this program ends.
                    Global::RebuildFromType => Err(wrong()),
                    _ => self.call(function, arguments),
                }
            }
            Global::RebuildTensor | Global::RebuildTensorV2 | Global::RebuildTensorV3 => {
                let tensor = self.tensor(function, arguments)?;
                self.push_object(Object::Tensor(Box::new(tensor)))
            }
            Global::TensorType | Global::DType(_) | Global::Storage(_) => Err(wrong()),
        }
    }

    /// `("storage", type, key, device, number of elements)`.
    pub(super) fn storage(&self, id: Item) -> Result<Storage<'a>> {
        let id = self.tuple_of(id)?;
        let &[kind, storage, key, _, Item::Int(len)] = id else {
            return Err("a storage has another form than that of `torch.save`".into());
        };
        match (self.text_of(kind)?, self.global_of(storage)?) {
            ("storage", Global::Storage(dtype)) => {
                let len = u64::try_from(len).map_err(|_| "a storage has a negative length")?;
                Ok(Storage { dtype, key: self.text_of(key)?, len })
            }
            _ => Err("it refers to something that is no storage".into()),
        }
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks, ..)`; then a dtype in version 3, and
    /// last what else is to be known of it.
    fn tensor(&self, function: Global, arguments: &[Item]) -> Result<TensorRef<'a>> {
        let &[storage, Item::Int(offset), shape, strides, ref rest @ ..] = arguments else {
            return Err("a tensor has another form than that of `torch.save`".into());
        };
        let Some(&Object::Storage(storage)) = self.object(storage) else {
            return Err("a tensor has no storage".into());
        };
        let (named, more) = match function {
            Global::RebuildTensorV3 => match rest.get(2).map(|&dtype| self.global_of(dtype)) {
                Some(Ok(Global::DType(dtype))) => (Some(dtype), rest.get(3)),
                _ => return Err("a tensor has no dtype".into()),
            },
            _ => (None, rest.get(2)),
        };
        let dtype = named.or(storage.dtype).ok_or("a tensor has no dtype")?;
        let plain = match more {
            None | Some(Item::None) => true,
            Some(&more) => matches!(self.object(more), Some(Object::Dict(more)) if more.is_empty()),
        };
        if !plain {
            let what = "it holds a conjugated or negated view";
            return Err(format!("{what}; save `x.resolve_conj().resolve_neg()` in Python"));
        }
        let offset = u64::try_from(offset).map_err(|_| "a tensor has a negative offset")?;
        let extents: Vec<usize> = self.numbers(shape)?;
        let strides: Vec<u64> = self.numbers(strides)?;
        if extents.len() != strides.len() {
            return Err("a tensor has not as many strides as axes".into());
        }
        let shape = Shape::try_new(&extents).map_err(|error| error.to_string())?;
        Ok(TensorRef { storage, dtype, offset, shape, strides })
    }

    /// A tuple of a few numbers that are not negative.
    fn numbers<T: TryFrom<i64>>(&self, item: Item) -> Result<Vec<T>> {
        let items = self.tuple_of(item)?;
        if items.len() > MAX_RANK {
            return Err(format!("a tensor has {} axes; Kiln has {MAX_RANK} at most", items.len()));
        }
        let number = |item: &Item| match *item {
            Item::Int(n) => T::try_from(n).map_err(|_| "an extent or a stride is negative".into()),
            _ => Err("an extent or a stride is no number".into()),
        };
        items.iter().map(number).collect()
    }
}
