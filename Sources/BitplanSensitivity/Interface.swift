public import BitplanCore
