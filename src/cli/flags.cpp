#include "flags.hpp"

#include <algorithm>

#include "config_file.hpp"
#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"

namespace expar::cli {
namespace {

std::string one_line(std::string text) {
    std::ranges::replace(text, '\n', ' ');
    return text;
}

const CLI::App& chosen(const CLI::App& app) {
    const auto commands = app.get_subcommands();
    return commands.empty() ? app : *commands.front();
}

std::vector<std::string> names_of_flags(const CLI::App& command) {
    std::vector<std::string> names;
    for (const auto* option : command.get_options())
        for (const auto& name : option->get_lnames()) names.push_back("--" + name);
    return names;
}

std::string complaint_about(const CLI::App& app, const CLI::ParseError& error) {
    const CLI::App& command = chosen(app);
    const auto unexpected = app.remaining(true);
    if (dynamic_cast<const CLI::ExtrasError*>(&error) && !unexpected.empty()) {
        const auto& first = unexpected.front();
        if (!first.starts_with('-')) {
            if (&command != &app) return concat("unexpected argument '", first, "'");
            std::vector<std::string> known;
            for (const auto* subcommand : app.get_subcommands({})) known.push_back(subcommand->get_name());
            return concat("unknown subcommand '", first, "'", suggestion(first, known));
        }
        const auto name = first.substr(0, first.find('='));
        return concat("unknown flag '", name, "'", suggestion(name, names_of_flags(command)));
    }
    const std::string line = one_line(error.what());
    // "Could not convert: --threads = x", of the flags that a subcommand reads itself, all of them numbers.
    constexpr std::string_view conversion = "Could not convert: ";
    if (const auto equals = line.find(" = "); line.starts_with(conversion) && equals != std::string::npos)
        return concat(line.substr(conversion.size(), equals - conversion.size()), ": expected a number, got '",
                      line.substr(equals + 3), "'");
    return line;
}

}  // namespace

void ConfigFlags::add_flag(CLI::App& command, const Field& field, std::string_view title, Given& given) {
    const bool truth = std::holds_alternative<bool*>(field.value);
    std::string preset = field.text();
    std::erase(preset, '"');
    // CLI11 would take the default for the value of a switch that stands alone.
    const std::string help = truth ? concat(field.help, "; default ", preset) : std::string(field.help);
    given.option = command.add_option(field.flag(), given.arguments, help);
    given.option->group(std::string(title))->type_name(std::string(field.type_name()));
    if (std::holds_alternative<std::vector<std::string>*>(field.value)) return;
    given.option->default_str(truth ? "" : preset)->allow_extra_args(false);
    given.option->expected(truth ? 0 : 1, 1)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

ConfigFlags::ConfigFlags(CLI::App& command) {
    command.add_option("--config", file_, "TOML file with any of the keys below, '_' for '-'; flags come after it")
        ->type_name("FILE");
    RunConfig defaults;
    for (const auto& group : field_groups(defaults))
        for (const auto& field : group.fields) add_flag(command, field, group.title, given_[field.flag()]);
}

void ConfigFlags::apply(RunConfig& config) const {
    if (!file_.empty()) apply_config_file(file_, config);
    for (const auto& group : field_groups(config))
        for (const auto& field : group.fields) {
            const auto& [option, arguments] = given_.at(field.flag());
            if (option->count() == 0) continue;
            if (const auto* list = std::get_if<std::vector<std::string>*>(&field.value)) (*list)->clear();
            for (const auto& argument : arguments) field.set(argument);
            if (arguments.empty()) field.set("true");  // a switch
        }
}

RunConfig ConfigFlags::read(const Communicator& world, const RunConfig& base) const {
    RunConfig config = base;
    judge_on_root(world, [&] { apply(config); });
    apply_toml(world.broadcast(to_full_toml(config), 0, {"configuration"}), "configuration of rank 0", config);
    return config;
}

bool parse_arguments(CLI::App& app, int argc, const char* const* argv, std::string& help) {
    try {
        app.parse(argc, argv);
        return true;
    } catch (const CLI::CallForHelp&) {
        const CLI::App& command = chosen(app);
        help = &command == &app ? app.help() : command.help(app.get_name());
    } catch (const CLI::CallForAllHelp&) {
        help = app.help("", CLI::AppFormatMode::All);
    } catch (const CLI::CallForVersion& version) {
        help = concat(version.what(), "\n");
    } catch (const CLI::ParseError& error) {
        throw UserError(complaint_about(app, error));
    }
    return false;
}

}  // namespace expar::cli
