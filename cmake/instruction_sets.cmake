# Kernels of one instruction set are compiled for it alone, and chosen at run time; everything else runs on any machine.
# kernels/cpu/avx2/*.cpp and kernels/cpu/avx512/*.cpp
foreach(level avx2 avx512)
  file(GLOB level_sources CONFIGURE_DEPENDS kernels/cpu/${level}/*.cpp)
  target_sources(expar PRIVATE ${level_sources})
  if(level STREQUAL avx2)
    set_source_files_properties(${level_sources} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  else()
    set_source_files_properties(${level_sources} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512dq;-mavx512bw;-mavx512vl;-mprefer-vector-width=512")
  endif()
endforeach()
