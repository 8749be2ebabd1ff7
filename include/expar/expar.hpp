#pragma once

// Every public header, lowest layer first.

#include "expar/base/buffer.hpp"              // owned memory
#include "expar/base/device.hpp"              // a processor: memory, streams, operations
#include "expar/base/dtype.hpp"               // element types
#include "expar/base/error.hpp"               // Error, UserError, concat
#include "expar/base/matrix.hpp"              // owned matrices and their views
#include "expar/base/names.hpp"               // tables of named choices
#include "expar/base/random.hpp"              // counter-based random numbers
#include "expar/base/size_class.hpp"          // blocks of a pool of memory
#include "expar/bench/access_probe.hpp"       // what memory allows for rows that scatter
#include "expar/bench/allreduce_bench.hpp"    // sums beside their bounds
#include "expar/bench/bench_row.hpp"          // what a benchmark of communication found
#include "expar/bench/bound.hpp"              // what a kernel cannot be faster than
#include "expar/bench/dense_peer.hpp"         // products of another library
#include "expar/bench/dispatch_bench.hpp"     // dispatchers beside their bounds
#include "expar/bench/exchange_bench.hpp"     // exchanges beside theirs
#include "expar/bench/kernel_bench.hpp"       // time beside bound
#include "expar/bench/kernel_case.hpp"        // a kernel on a shape
#include "expar/bench/kernel_cases.hpp"       // all of them
#include "expar/bench/layer_bench.hpp"        // MoE layers as training runs them
#include "expar/bench/machine_probe.hpp"      // what memory and MPI give all ranks
#include "expar/bench/measure_together.hpp"   // in turn, on all ranks
#include "expar/bench/merge_rows.hpp"         // several launches as one
#include "expar/bench/oracle.hpp"             // what every row of a dispatch must be
#include "expar/bench/probe.hpp"              // what a machine can move and compute
#include "expar/bench/provenance.hpp"         // where and how it was measured
#include "expar/bench/row_places.hpp"         // where rows lie at their hosts
#include "expar/bench/row_report.hpp"         // rows as a table and in files
#include "expar/bench/skew.hpp"               // how uneven a routing is, what it moves
#include "expar/bench/statistics.hpp"         // medians, and when they are known
#include "expar/bench/trace_workload.hpp"     // recorded routing, replayed
#include "expar/bench/workload.hpp"           // named ways to choose experts
#include "expar/comm/all_gather_rows.hpp"     // rows of all ranks
#include "expar/comm/bare_allreduce.hpp"      // MPI_Allreduce alone
#include "expar/comm/bare_alltoallv.hpp"      // MPI_Alltoallv alone
#include "expar/comm/communicator.hpp"        // a group of ranks
#include "expar/comm/cpu_places.hpp"          // on which CPUs threads run
#include "expar/comm/exchange.hpp"            // all-to-all of rows
#include "expar/comm/layout.hpp"              // EP x DP
#include "expar/comm/mpi_library.hpp"         // which MPI this is
#include "expar/comm/open_stages.hpp"         // what any wait moves on
#include "expar/comm/rank_status.hpp"         // what a rank did last
#include "expar/comm/staged_transfers.hpp"    // two transfers, one behind the other
#include "expar/comm/start_messages.hpp"      // rows to and from chosen ranks
#include "expar/comm/topology.hpp"            // which ranks share a node
#include "expar/comm/traffic.hpp"             // what was handed to MPI
#include "expar/comm/verdict.hpp"             // what rank 0 judges for all
#include "expar/comm/wait.hpp"                // waiting with a deadline; transfers
#include "expar/comm/window.hpp"              // memory that ranks of a node share
#include "expar/compute/activation.hpp"       // SwiGLU, GELU, ReLU
#include "expar/compute/attention.hpp"        // causal attention, rotary positions
#include "expar/compute/cpu_device.hpp"       // the fast kernels
#include "expar/compute/loss.hpp"             // cross entropy
#include "expar/compute/matrix_product.hpp"   // grouped products
#include "expar/compute/norm.hpp"             // RMS norm
#include "expar/compute/pausing.hpp"          // something else between the tasks of an operation
#include "expar/compute/routing.hpp"          // arithmetic of the router
#include "expar/compute/rows.hpp"             // gather, weighted sums
#include "expar/compute/update.hpp"           // AdamW, SGD, norms of gradients
#include "expar/convert/huggingface.hpp"      // names and options of transformers
#include "expar/convert/safetensors.hpp"      // tensors by name in one file
#include "expar/convert/trace_import.hpp"     // recorded routing of other programs
#include "expar/infer/generate.hpp"           // text from a prompt
#include "expar/infer/sampler.hpp"            // a token from logits
#include "expar/model/attention_layer.hpp"    // norm, attention, residual
#include "expar/model/kv_cache.hpp"           // keys and values of a text so far
#include "expar/model/micro_batch.hpp"        // ragged sequences
#include "expar/model/model_options.hpp"      // the shape of a model
#include "expar/model/parameters.hpp"         // all blocks of a model
#include "expar/model/transformer.hpp"        // the language model
#include "expar/moe/balance.hpp"              // balance and z-loss
#include "expar/moe/chunks.hpp"               // a layer's tokens in runs
#include "expar/moe/dispatch_plan.hpp"        // who gets which rows
#include "expar/moe/dispatcher.hpp"           // dispatch and combine, both ways
#include "expar/moe/experts.hpp"              // feed-forward networks side by side
#include "expar/moe/moe_layer.hpp"            // all of it as a layer
#include "expar/moe/parameter_block.hpp"      // parameters that move as one
#include "expar/moe/placement.hpp"            // which member hosts which expert
#include "expar/moe/router.hpp"               // score, perturb, select, weigh, drop
#include "expar/moe/routing.hpp"              // who chose which experts
#include "expar/observe/clock_offset.hpp"     // how far clocks are apart
#include "expar/observe/phase_clock.hpp"      // where the time goes
#include "expar/observe/stopwatch.hpp"        // how long a scope took
#include "expar/observe/timeline.hpp"         // what happened when, for Chrome
#include "expar/store/checkpoint.hpp"         // a model on disk
#include "expar/store/checkpoint_folder.hpp"  // those of a run
#include "expar/store/digest.hpp"             // what a file must be, to be read
#include "expar/store/golden.hpp"             // what another implementation computed
#include "expar/store/hdf5_file.hpp"          // the wrapper of HDF5
#include "expar/store/hdf5_series.hpp"        // rows added one by one
#include "expar/store/partial_file.hpp"       // a file that appears whole or not at all
#include "expar/store/raw_file.hpp"           // bytes at offsets
#include "expar/store/set_aside.hpp"          // what is in the way of a file and kept
#include "expar/store/trace.hpp"              // recorded routing
#include "expar/train/clip.hpp"               // the norm of the gradient
#include "expar/train/corpus.hpp"             // text by domain
#include "expar/train/gradient_reducer.hpp"   // sums of gradients during backward
#include "expar/train/host_sets.hpp"          // which ranks share a gradient
#include "expar/train/objective.hpp"          // the one loss of a step
#include "expar/train/optimizer.hpp"          // AdamW and SGD over blocks
#include "expar/train/schedule.hpp"           // learning rate by step
#include "expar/train/train_options.hpp"      // how a run trains
#include "expar/train/trainer.hpp"            // a step of training
#include "expar/verify/cases.hpp"             // what is verified
#include "expar/verify/comparison.hpp"        // judging a step
#include "expar/verify/golden_check.hpp"      // a layer against transformers
#include "expar/verify/plain_attention.hpp"   // a part of it
#include "expar/verify/plain_balance.hpp"     // a part of it
#include "expar/verify/plain_math.hpp"        // a part of it
#include "expar/verify/plain_mlp.hpp"         // a part of it
#include "expar/verify/plain_model.hpp"       // the float64 model that verify trusts
#include "expar/verify/plain_moe.hpp"         // a part of it
#include "expar/verify/plain_optimizer.hpp"   // a part of it
#include "expar/verify/plain_parameters.hpp"  // a part of it
#include "expar/verify/plain_router.hpp"      // a part of it
#include "expar/verify/recorder.hpp"          // what a step computed
#include "expar/verify/report.hpp"            // what was found
#include "expar/verify/snapshot.hpp"          // a whole model on rank 0
#include "expar/verify/verify.hpp"            // R ranks against one and float64
