#include "kernels/product_onednn.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/error.h"
#include "base/parallel.h"

namespace tap::kernels {

namespace {

constexpr std::array<Dim, 6> buckets{16,  32,  64,
                                     128, 256, 512};  // each new row count would cost a millisecond of code generation

Dim bucket_of(Dim rows) {
  for (const Dim b : buckets)
    if (rows <= b) return b;
  return buckets.back();
}

dnnl::cpu_isa dnnl_isa(Isa isa) {
  switch (isa) {
    case Isa::scalar:
    case Isa::sse4: return dnnl::cpu_isa::sse41;
    case Isa::avx2: return dnnl::cpu_isa::avx2;
    case Isa::avx512: return dnnl::cpu_isa::avx512_core;
    case Isa::avx512_vnni: return dnnl::cpu_isa::avx512_core_vnni;
    case Isa::avx512_bf16: return dnnl::cpu_isa::avx512_core_bf16;
    case Isa::amx: return dnnl::cpu_isa::avx512_core_amx;
  }
  return dnnl::cpu_isa::all;
}

struct Primitive {
  dnnl::matmul matmul;
  dnnl::memory::desc source, weights, result, scratchpad;
  std::string name;
};

class Products {
 public:
  static Products& get() {
    static Products products;
    return products;
  }
  const dnnl::engine& engine() const { return engine_; }

  // Null when the library has nothing fast. Primitives live as long as the process: a stream may be running one.
  const Primitive* find(Pack type, Dim in, Dim out, Dim bucket) {
    const std::lock_guard lock(mutex_);
    const auto key = std::make_tuple(type, in, out, bucket);
    const auto it = primitives_.find(key);
    if (it != primitives_.end()) return it->second.get();
    return (primitives_[key] = create(type, in, out, bucket)).get();
  }

 private:
  Products() : engine_((dnnl::set_max_cpu_isa(dnnl_isa(usable_isas().back())), dnnl::engine::kind::cpu), 0) {
    dnnl::set_primitive_cache_capacity(1);  // ours is keyed by what we know, its own would keep everything twice
  }

  std::unique_ptr<Primitive> create(Pack type, Dim in, Dim out, Dim bucket) const {
    using Type = dnnl::memory::data_type;
    using Tag = dnnl::memory::format_tag;
    const Type source = type == Pack::f32 ? Type::f32 : type == Pack::bf16 ? Type::bf16 : Type::u8;
    const Type weights = type == Pack::f32 ? Type::f32 : type == Pack::bf16 ? Type::bf16 : Type::s8;
    const Type result = type == Pack::q8 ? Type::s32 : Type::f32;
    const Tag tag = type == Pack::f32 ? Tag::BA16a64b : type == Pack::bf16 ? Tag::BA16a64b2a : Tag::BA16a64b4a;
    // Our converted rows are padded like the weights: whole blocks of inputs, or bf16 and int8 lose their fast kernels.
    const Dim inputs = type == Pack::f32 ? in : padded_inputs(type, in);
    auto primitive = std::make_unique<Primitive>();
    try {
      primitive->source = dnnl::memory::desc({bucket, inputs}, source, Tag::ab);
      primitive->weights = dnnl::memory::desc({inputs, out}, weights, tag);
      primitive->result = dnnl::memory::desc({bucket, out}, result, Tag::ab);
      dnnl::primitive_attr attributes;
      attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      const dnnl::matmul::primitive_desc description(
          dnnl::matmul::desc(primitive->source, primitive->weights, primitive->result), attributes, engine_);
      primitive->name = description.impl_info_str();
      if (primitive->name.find("ref") != std::string::npos) return nullptr;
      primitive->scratchpad = description.scratchpad_desc();
      primitive->matmul = dnnl::matmul(description);
    } catch (const dnnl::error&) {
      return nullptr;
    }
    return primitive;
  }

  dnnl::engine engine_;
  std::mutex mutex_;
  std::map<std::tuple<Pack, Dim, Dim, Dim>, std::unique_ptr<Primitive>> primitives_;
};

}  // namespace

bool onednn_can(Pack type, Isa isa) {
  switch (type) {
    case Pack::f32: return isa >= Isa::avx512;
    case Pack::bf16: return isa >= Isa::avx512_bf16;
    case Pack::q8: return isa >= Isa::avx512_vnni;
    case Pack::q4: return false;
  }
  return false;
}

bool onednn_wins(Pack type, Dim rows, Isa isa) {
  // On AVX-512 our tiles are as fast (bench/linear: both 90-95 % of the peak on Zen 5), need no code generated for each
  // shape, and give a row the same bits in any batch. Tile registers only oneDNN can use.
  return isa >= Isa::amx && type != Pack::f32 && rows >= 16 && onednn_can(type, isa);
}

bool product_onednn(const Operand& a, const PackView& w, const Finish& finish) {
  if (!onednn_can(w.type, active_isa())) return false;
  Products& products = Products::get();
  omp_set_num_threads(ExecContext::current().threads());  // where oneDNN takes its count from
  dnnl::stream stream(products.engine());
  const Dim element = w.type == Pack::f32 ? 4 : w.type == Pack::bf16 ? 2 : 1;
  // Blocks of rows whose sums are finished while they are in cache.
  Dim block = buckets.back();
  while (block > 64 && block * w.out * 4 > (Dim{4} << 20)) block /= 2;
  const Dim most = std::min(block, bucket_of(a.rows));
  const Scratch sums(most * w.out * 4);
  for (Dim row = 0; row < a.rows; row += block) {
    const Dim rows = std::min(block, a.rows - row), bucket = bucket_of(rows);
    const Primitive* primitive = products.find(w.type, w.in, w.out, bucket);
    if (!primitive) return TAP_ASSERT(row == 0), false;
    const std::byte* source = static_cast<const std::byte*>(a.data) + row * a.stride * element;
    Scratch rounded;
    if (rows < bucket ||
        (w.type == Pack::f32 && a.stride != a.in)) {  // the bucket's missing rows are zeros, their sums unused
      const Dim stride = w.type == Pack::f32 ? a.in : a.stride;
      rounded = Scratch(bucket * stride * element);
      auto* to = rounded.as<std::byte>();
      for (Dim r = 0; r < bucket; ++r) {
        if (r < rows)
          std::copy_n(source + r * a.stride * element, stride * element, to + r * stride * element);
        else
          std::fill_n(to + r * stride * element, stride * element, std::byte{0});
      }
      source = to;
    }
    const Scratch pad(std::max<Dim>(64, static_cast<Dim>(primitive->scratchpad.get_size())));
    const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, products.engine(), const_cast<void*>(data));
    };
    primitive->matmul.execute(stream, {{DNNL_ARG_SRC, memory(primitive->source, source)},
                                       {DNNL_ARG_WEIGHTS, memory(primitive->weights, w.panels)},
                                       {DNNL_ARG_DST, memory(primitive->result, sums.as<void>())},
                                       {DNNL_ARG_SCRATCHPAD, memory(primitive->scratchpad, pad.as<void>())}});
    stream.wait();
    parallel_rows(rows, std::max<Dim>(1, 8192 / w.out), [&](Rows r) {
      const Finish part = finish.from(row + r.begin, 0);
      if (w.type == Pack::q8) {
        for (Dim p = 0; p < w.panel_count(); ++p)
          a.add_outliers(row + r.begin, r.size(), reinterpret_cast<const std::int8_t*>(w.panel(p)),
                         std::min(panel_outputs, w.out - p * panel_outputs),
                         sums.as<std::int32_t>() + r.begin * w.out + p * panel_outputs, w.out);
        finish_q8(sums.as<std::int32_t>() + r.begin * w.out, w.out, r.size(), w.out, a.scale + row + r.begin, w.scale,
                  w.column_sum, part);
      } else
        finish_f32(sums.as<float>() + r.begin * w.out, w.out, r.size(), w.out, part);
    });
  }
  return true;
}

std::string onednn_kernel_name(const PackView& w, Dim rows) {
  if (!onednn_can(w.type, active_isa())) return "";
  const Primitive* primitive = Products::get().find(w.type, w.in, w.out, bucket_of(rows));
  return primitive ? primitive->name : "";
}

}  // namespace tap::kernels
