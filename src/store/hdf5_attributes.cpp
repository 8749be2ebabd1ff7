#include <hdf5.h>

#include "expar/base/error.hpp"
#include "expar/store/hdf5_file.hpp"
#include "hdf5_handles.hpp"

namespace expar {

void Hdf5File::write_attribute(const std::string& object, const std::string& name, Handle type, const void* value) {
    const Owned target(H5Oopen(file_, object_path(object).c_str(), H5P_DEFAULT), H5Oclose);
    if (!target.valid()) fail(concat(object, " is missing"));
    const Owned space(H5Screate(H5S_SCALAR), H5Sclose);
    const Owned attribute(H5Acreate2(target, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (!attribute.valid() || H5Awrite(attribute, type, value) < 0)
        fail(concat("writing attribute ", name, " failed", last_cause()));
}

void Hdf5File::read_attribute(const std::string& object, const std::string& name, Handle type, void* value) const {
    if (!has_attribute(object, name)) fail(concat("has no attribute '", name, "'"));
    const Owned attribute(H5Aopen_by_name(file_, object_path(object).c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                          H5Aclose);
    const Owned space(H5Aget_space(attribute), H5Sclose);
    if (H5Sget_simple_extent_npoints(space) != 1) fail(concat("attribute '", name, "' is not one value"));
    if (H5Aread(attribute, type, value) < 0) fail(concat("attribute '", name, "' has another type", last_cause()));
}

void Hdf5File::set_attribute(const std::string& object, const std::string& name, const std::string& value) {
    const char* text = value.c_str();
    write_attribute(object, name, text_type(), &text);
}
void Hdf5File::set_attribute(const std::string& object, const std::string& name, std::int64_t value) {
    write_attribute(object, name, H5T_NATIVE_INT64, &value);
}
void Hdf5File::set_attribute(const std::string& object, const std::string& name, double value) {
    write_attribute(object, name, H5T_NATIVE_DOUBLE, &value);
}

std::int64_t Hdf5File::integer_attribute(const std::string& object, const std::string& name) const {
    std::int64_t value = 0;
    read_attribute(object, name, H5T_NATIVE_INT64, &value);
    return value;
}
double Hdf5File::real_attribute(const std::string& object, const std::string& name) const {
    double value = 0;
    read_attribute(object, name, H5T_NATIVE_DOUBLE, &value);
    return value;
}

std::string Hdf5File::text_attribute(const std::string& object, const std::string& name) const {
    if (!has_attribute(object, name)) fail(concat("has no attribute '", name, "'"));
    const Owned attribute(H5Aopen_by_name(file_, object_path(object).c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                          H5Aclose);
    const Owned type(H5Aget_type(attribute), H5Tclose);
    if (H5Tget_class(type) != H5T_STRING) fail(concat("attribute '", name, "' is not a text"));
    if (H5Tis_variable_str(type) > 0) {
        char* text = nullptr;
        read_attribute(object, name, type, &text);
        const std::string value = text ? text : "";
        H5free_memory(text);
        return value;
    }
    std::string value(H5Tget_size(type), '\0');
    read_attribute(object, name, type, value.data());
    return value.substr(0, value.find('\0'));
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
    return contains(object) && H5Aexists_by_name(file_, object_path(object).c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

}  // namespace expar
