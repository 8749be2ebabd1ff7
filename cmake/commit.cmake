# Writes OUT, a header with the commit of SOURCE; leaves it alone when it says so already.
#   cmake -DSOURCE=DIR -DOUT=FILE -P commit.cmake
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#pragma once\n\nnamespace expar::cli {\n\nconstexpr const char* commit = \"@commit@\";\n\n}  // namespace expar::cli\n" @ONLY)
