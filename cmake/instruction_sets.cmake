# kernels/cpu/<level>/*.cpp are compiled for one instruction set each, and chosen at run time; everything else runs on
# any machine of the architecture. Products and sums are fused where the source says so, not where the compiler likes.
set(flags_avx2 -mavx2 -mfma)
set(flags_avx512 ${flags_avx2} -mavx512f -mavx512dq -mavx512bw -mavx512vl)
# GCC 12 warns inside its own header of AVX-512 (its bug 105593).
list(APPEND flags_avx512 $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
set(flags_avx512_bf16 ${flags_avx512} -mavx512bf16)
set(flags_amx ${flags_avx512_bf16} -mamx-tile -mamx-bf16)
foreach(level avx2 avx512 avx512_bf16 amx)
  file(GLOB level_sources CONFIGURE_DEPENDS kernels/cpu/${level}/*.cpp)
  target_sources(expar PRIVATE ${level_sources})
  set_source_files_properties(${level_sources} PROPERTIES COMPILE_OPTIONS "${flags_${level}};-ffp-contract=off")
endforeach()
