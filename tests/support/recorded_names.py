"""Names that the doubles of TensorRT and the CUDA driver may have, recorded from the real ones.

TENSORRT: what ``dir()`` shows in all of the bindings 10.3.0, 10.7.0, 10.13.3, 10.16.1 and 11.4.0 (wheels
``tensorrt-cu12-bindings`` and ``tensorrt-cu13-bindings`` for Python 3.11, x86-64), imported on 2026-11-23 without a
GPU: their shared objects load once libnvinfer, libnvonnxparser and libnvinfer_plugin are replaced by libraries that
define the nine C functions they import. DRIVER: parameter types in cuda.h of CUDA 13.0, by the names its macros give.
"""

from __future__ import annotations

TENSORRT: dict[str, str] = {
    "Runtime": (
        "DLA_core deserialize_cuda_engine engine_host_code_allowed error_recorder get_plugin_registry "
        "gpu_allocator load_runtime logger max_threads num_DLA_cores tempfile_control_flags "
        "temporary_directory"
    ),
    "ICudaEngine": (
        "create_engine_inspector create_execution_context create_serialization_config device_memory_size_v2 "
        "engine_capability error_recorder get_device_memory_size_for_profile_v2 "
        "get_tensor_bytes_per_component get_tensor_components_per_element get_tensor_dtype get_tensor_format "
        "get_tensor_format_desc get_tensor_location get_tensor_mode get_tensor_name get_tensor_profile_shape "
        "get_tensor_profile_values get_tensor_shape get_tensor_vectorized_dim "
        "get_weight_streaming_automatic_budget hardware_compatibility_level is_debug_tensor "
        "is_shape_inference_io name num_aux_streams num_io_tensors num_layers num_optimization_profiles "
        "profiling_verbosity refittable serialize serialize_with_config streamable_weights_size "
        "tactic_sources weight_streaming_budget_v2 weight_streaming_scratch_memory_size"
    ),
    "IExecutionContext": (
        "active_optimization_profile all_binding_shapes_specified debug_sync device_memory engine "
        "enqueue_emits_profile error_recorder execute_async_v3 execute_v2 get_debug_listener get_debug_state "
        "get_input_consumed_event get_max_output_size get_output_allocator get_tensor_address "
        "get_tensor_shape get_tensor_strides infer_shapes name nvtx_verbosity persistent_cache_limit profiler "
        "report_to_profiler set_all_tensors_debug_state set_aux_streams set_debug_listener set_device_memory "
        "set_input_consumed_event set_input_shape set_optimization_profile_async set_output_allocator "
        "set_tensor_address set_tensor_debug_state temporary_allocator update_device_memory_size_for_shapes"
    ),
    "ExecutionContextAllocationStrategy": "ON_PROFILE_CHANGE STATIC USER_MANAGED name value",
    "TensorIOMode": "INPUT NONE OUTPUT name value",
    "DataType": "BF16 BOOL FLOAT FP8 HALF INT32 INT4 INT64 INT8 UINT8 name value",
    "Builder": (
        "build_serialized_network create_builder_config create_network create_optimization_profile "
        "error_recorder get_plugin_registry gpu_allocator is_network_supported logger max_DLA_batch_size "
        "max_threads num_DLA_cores reset"
    ),
    "INetworkDefinition": (
        "add_activation add_assertion add_cast add_concatenation add_constant add_convolution_nd "
        "add_deconvolution_nd add_dequantize add_einsum add_elementwise add_fill add_gather add_gather_v2 "
        "add_grid_sample add_identity add_if_conditional add_input add_loop add_lrn add_matrix_multiply "
        "add_nms add_non_zero add_normalization add_one_hot add_padding_nd add_parametric_relu add_plugin_v2 "
        "add_plugin_v3 add_pooling_nd add_quantize add_ragged_softmax add_reduce add_resize "
        "add_reverse_sequence add_scale add_scale_nd add_scatter add_select add_shape add_shuffle add_slice "
        "add_softmax add_topk add_unary are_weights_marked_refittable builder error_recorder flags get_flag "
        "get_input get_layer get_output has_implicit_batch_dimension is_debug_tensor mark_debug mark_output "
        "mark_output_for_shapes mark_weights_refittable name num_inputs num_layers num_outputs remove_tensor "
        "set_weights_name unmark_debug unmark_output unmark_output_for_shapes unmark_weights_refittable"
    ),
    "OnnxParser": (
        "clear_errors clear_flag flags get_error get_flag get_layer_output_tensor get_subgraph_nodes "
        "get_used_vc_plugin_libraries is_subgraph_supported num_errors num_subgraphs parse parse_from_file "
        "set_flag supports_model_v2 supports_operator"
    ),
    "ParserError": (
        "code desc file func line local_function_stack local_function_stack_size node node_name node_operator"
    ),
    "IBuilderConfig": (
        "DLA_core add_optimization_profile avg_timing_iterations builder_optimization_level can_run_on_DLA "
        "clear_flag create_timing_cache default_device_type engine_capability flags get_device_type get_flag "
        "get_memory_pool_limit get_preview_feature get_tactic_sources get_timing_cache "
        "hardware_compatibility_level is_device_type_set max_aux_streams num_optimization_profiles "
        "plugins_to_serialize profile_stream profiling_verbosity progress_monitor reset reset_device_type "
        "runtime_platform set_device_type set_flag set_memory_pool_limit set_preview_feature "
        "set_tactic_sources set_timing_cache"
    ),
    "IOptimizationProfile": "extra_memory_target get_shape get_shape_input set_shape set_shape_input",
    "ITimingCache": "combine reset serialize",
    "IProgressMonitor": "phase_finish phase_start step_complete",
    "EngineInspector": "error_recorder execution_context get_engine_information get_layer_information",
    "LayerInformationFormat": "JSON ONELINE name value",
    "ILogger": "ERROR INFO INTERNAL_ERROR Severity VERBOSE WARNING log",
    "NetworkDefinitionCreationFlag": "STRONGLY_TYPED name value",
    "MemoryPoolType": (
        "DLA_GLOBAL_DRAM DLA_LOCAL_DRAM DLA_MANAGED_SRAM TACTIC_DRAM TACTIC_SHARED_MEMORY WORKSPACE name value"
    ),
    "ProfilingVerbosity": "DETAILED LAYER_NAMES_ONLY NONE name value",
    "BuilderFlag": (
        "DEBUG DIRECT_IO DISABLE_COMPILATION_CACHE DISABLE_TIMING_CACHE ERROR_ON_TIMING_CACHE_MISS "
        "EXCLUDE_LEAN_RUNTIME GPU_FALLBACK REFIT REFIT_IDENTICAL REFIT_INDIVIDUAL SAFETY_SCOPE SPARSE_WEIGHTS "
        "STRIP_PLAN TF32 VERSION_COMPATIBLE WEIGHT_STREAMING name value"
    ),
    "ITensor": (
        "allowed_formats broadcast_across_batch dtype get_dimension_name is_execution_tensor is_network_input "
        "is_network_output is_shape_tensor location name set_dimension_name shape"
    ),
}

DRIVER: dict[str, str] = {
    "cuInit": "unsigned int",
    "cuDriverGetVersion": "int*",
    "cuGetErrorName": "CUresult, const char**",
    "cuGetErrorString": "CUresult, const char**",
    "cuDeviceGetCount": "int*",
    "cuDeviceGet": "CUdevice*, int",
    "cuDeviceGetName": "char*, int, CUdevice",
    "cuDeviceGetAttribute": "int*, CUdevice_attribute, CUdevice",
    "cuDeviceTotalMem_v2": "size_t*, CUdevice",
    "cuDevicePrimaryCtxRetain": "CUcontext*, CUdevice",
    "cuDevicePrimaryCtxRelease_v2": "CUdevice",
    "cuCtxPushCurrent_v2": "CUcontext",
    "cuCtxPopCurrent_v2": "CUcontext*",
    "cuMemAlloc_v2": "CUdeviceptr*, size_t",
    "cuMemFree_v2": "CUdeviceptr",
    "cuMemHostAlloc": "void**, size_t, unsigned int",
    "cuMemHostGetDevicePointer_v2": "CUdeviceptr*, void*, unsigned int",
    "cuMemFreeHost": "void*",
    "cuMemcpyHtoDAsync_v2": "CUdeviceptr, const void*, size_t, CUstream",
    "cuMemcpyDtoHAsync_v2": "void*, CUdeviceptr, size_t, CUstream",
    "cuMemcpyDtoDAsync_v2": "CUdeviceptr, CUdeviceptr, size_t, CUstream",
    "cuPointerGetAttribute": "void*, CUpointer_attribute, CUdeviceptr",
    "cuCtxSynchronize": "void",
    "cuEventCreate": "CUevent*, unsigned int",
    "cuEventRecord": "CUevent, CUstream",
    "cuEventElapsedTime": "float*, CUevent, CUevent",
    "cuEventDestroy_v2": "CUevent",
    "cuStreamCreate": "CUstream*, unsigned int",
    "cuStreamSynchronize": "CUstream",
    "cuStreamDestroy_v2": "CUstream",
    "cuStreamBeginCapture_v2": "CUstream, CUstreamCaptureMode",
    "cuStreamEndCapture": "CUstream, CUgraph*",
    "cuGraphInstantiateWithFlags": "CUgraphExec*, CUgraph, unsigned long long",
    "cuGraphDestroy": "CUgraph",
    "cuGraphExecDestroy": "CUgraphExec",
    "cuGraphLaunch": "CUgraphExec, CUstream",
}
