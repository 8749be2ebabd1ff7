#pragma once

namespace expar::cli {

/// MPI, from construction to destruction, for one thread that calls it. Must outlive every Communicator.
class MpiEnvironment {
public:
    MpiEnvironment(int& argc, char**& argv);
    ~MpiEnvironment();
    MpiEnvironment(const MpiEnvironment&) = delete;
    MpiEnvironment& operator=(const MpiEnvironment&) = delete;
};

}  // namespace expar::cli
