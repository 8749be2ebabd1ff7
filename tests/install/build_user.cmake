# cmake -D BUILD=.. -D WORK=.. -D PREFIX_PATH=.. -D GENERATOR=.. -D MPIEXEC=.. -D MPI_C_COMPILER=.. -P build_user.cmake
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/user -B ${WORK}/user -G ${GENERATOR} -DMPI_C_COMPILER=${MPI_C_COMPILER}
  "-DCMAKE_PREFIX_PATH=${WORK}/prefix;${PREFIX_PATH}")
run(${CMAKE_COMMAND} --build ${WORK}/user)
execute_process(COMMAND ${MPIEXEC} -n 2 ${WORK}/user/hello OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
if(NOT said MATCHES "rank 0 of 2" OR NOT said MATCHES "rank 1 of 2")
  message(FATAL_ERROR "two ranks of the user's program said: ${said}")
endif()
